"""Disks, Redis and PostgreSQL fail under a running server and come back: answers stay true, nothing is lost."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support import images
from tests.support.disks import disk, obey_permissions
from tests.support.services import PostgreSQL, Redis
from tests.system.conftest import free_port, until, worker

CREATE_STAFF = """
from organizations.audit import COMMAND
from organizations.operations import create_staff
create_staff("eve", "correct horse", email="eve@example.org", superuser=True, actor=COMMAND)
"""
MANY_IMAGES = """
from organizations.audit import COMMAND
from organizations.models import Organization
from sourceimages import ownership
from tests.support.rows import insert_images
ownership.check_writable()
insert_images(Organization.objects.get(name="acme"), 120, actor=COMMAND)
"""
RESUME = """
from datetime import timedelta
from django.db.models import F
from organizations.models import Job
from sourceimages.queue import STALE_SECONDS
from sourceimages.tasks import resume_jobs
Job.objects.update(created=F("created") - timedelta(seconds=2 * STALE_SECONDS))  # instead of waiting
resume_jobs.delay()
"""
WIDTH = 600  # pixels of an image whose file is larger than disks.LIMIT
HEIGHT = 200  # of images that are too large for memory, and are written to disk while they are received
ONE_WORKER = {"RENDER_WORKERS": "1", "PROBE_WORKERS": "1"}


class Client:
    """Requests to a server with an image, as an API user and as staff in the admin."""

    def __init__(self, server):
        self.server, self.api, self.staff = server, server.session(), requests.Session()
        login = f"{server.url}/admin/login/"
        self.staff.get(login)
        fields = {"username": "eve", "password": "correct horse", "next": "/admin/"}
        self.staff.post(login, data=fields | {"csrfmiddlewaretoken": self.staff.cookies["csrftoken"]})
        self.hash = self.upload(0).json()["items"][0]["hash"]
        assert self.render(5).status_code == 200  # so that the sandboxed workers run

    def upload(self, seed):
        return self.server.upload(images.png(WIDTH, HEIGHT, seed=seed), session=self.api)

    def upload_in_admin(self, seed):
        return self.staff.put(
            f"{self.server.url}/admin/sourceimages/sourceimage/upload/acme/",
            files={"file": ("a.png", images.png(WIDTH, HEIGHT, seed=seed))},
            headers={"X-CSRFToken": self.staff.cookies["csrftoken"]},
        )

    def render(self, width):
        return requests.get(f"{self.server.url}/render/acme/dynamic/resize-width-{width}/{self.hash}.webp", timeout=60)

    def image(self, method, path=""):
        return self.api.request(method, f"{self.server.url}/sourceimages/acme/{self.hash}{path}", timeout=60)

    def job(self, kind):
        return self.api.post(f"{self.server.url}/jobs/acme", json={"kind": kind}, timeout=60)

    def page(self, path="sourceimages/sourceimage/"):
        return self.staff.get(f"{self.server.url}/admin/{path}", timeout=60)

    def problems(self):
        """The failed checks of /health/ready."""
        ready = requests.get(f"{self.server.url}/health/ready", timeout=60)
        assert ready.status_code == (503 if "problems" in ready.json() else 200)
        return set(ready.json().get("problems", ()))

    def works(self, seed):
        """Assert that everything is answered again."""
        assert self.problems() == set()
        assert [self.upload(seed).status_code, self.upload_in_admin(seed + 1).status_code] == [200, 200]
        assert self.image("DELETE").status_code == 204
        assert self.image("POST", "/restore").status_code == 200
        assert self.render(seed).status_code == 200
        assert self.page().status_code == 200


def client_of(server, **options):
    created = server.manage("shell", "-c", CREATE_STAFF)
    assert created.returncode == 0, created.stderr
    return Client(server.start(**options))


def assert_unavailable(response, reason="unavailable"):
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5"), response.text
    if response.headers["Content-Type"].startswith("text/html"):
        assert "Try again" in response.text
    else:
        assert response.json()["reason"] == response.json()["error"]["reason"] == reason


@pytest.fixture(params=["full", "read_only"])
def broken(request, make_server, tmp_path):
    """A server with all files on one disk, and functions that break and repair it."""
    with disk(tmp_path / "disk") as own_disk:
        server = make_server(
            **ONE_WORKER, DATA_DIR=f"{own_disk.folder}/data", STORAGE_URL=f"file://{own_disk.folder}/files"
        )
        server.log = own_disk.folder / "log"
        server.data_dir.mkdir()
        if server.environment["DATABASE_URL"].startswith("sqlite"):
            file = Path(server.environment["DATABASE_URL"].removeprefix("sqlite:///"))
            for part in file.parent.glob(f"{file.name}*"):
                shutil.copy(part, server.data_dir)
            server.environment["DATABASE_URL"] = f"sqlite:///{server.data_dir}/{file.name}"
        client = client_of(server, prepare=obey_permissions)

        full = request.param == "full"
        break_ = partial(own_disk.fill, server.processes()) if full else own_disk.protect
        repair = partial(own_disk.free, server.processes()) if full else own_disk.unprotect
        yield client, break_, repair
        server.stop()


def test_a_full_or_read_only_disk(broken):
    client, break_, repair = broken
    on_sqlite = client.server.environment["DATABASE_URL"].startswith("sqlite")
    break_()
    assert client.problems() == ({"storage", "database"} if on_sqlite else {"storage"})
    for seed in range(1, 4):
        assert_unavailable(client.upload(seed), "storage_unavailable")
    assert_unavailable(client.upload_in_admin(4), "storage_unavailable")
    assert client.render(20).content[8:12] == b"WEBP"  # not cached, but rendered
    assert client.image("GET", "/download").content == images.png(WIDTH, HEIGHT, seed=0)
    assert client.page().status_code == 200
    if on_sqlite:
        assert_unavailable(client.image("DELETE"))
        assert_unavailable(client.job("delete_all"))
    repair()
    client.works(30)
    assert list(Path(client.server.data_dir).parent.rglob("*.part")) == []
    checked = client.server.manage("check_consistency")
    assert checked.stdout.strip() == "No problems found.", checked.stdout


@pytest.mark.any_database
def test_redis_is_lost_and_comes_back(make_server, tmp_path):
    (tmp_path / "redis").mkdir()
    redis = Redis(tmp_path / "redis", free_port())
    redis.start()
    try:
        server = make_server(REDIS_URL=redis.url, JOB_RUNNER="celery", RATE_LIMIT_PER_ORGANIZATION="1000", **ONE_WORKER)
        client = client_of(server)
        assert server.manage("shell", "-c", MANY_IMAGES).returncode == 0
        with worker(server, "interactive", "bulk", "maintenance"):
            redis.stop()
            assert client.problems() == {"cache"}
            assert client.upload(1).status_code == 200
            assert client.upload_in_admin(2).status_code == 200
            assert client.image("DELETE").status_code == 204
            assert client.image("POST", "/restore").status_code == 200
            assert client.render(20).status_code == 200
            assert client.page().status_code == client.page("").status_code == 200
            job = client.job("delete_all").json()
            assert job["state"] == "queued"

            redis.start()
            assert client.problems() == set()
            assert server.manage("shell", "-c", RESUME).returncode == 0
            address = f"{server.url}/jobs/acme/{job['id']}"
            assert until(lambda: client.api.get(address).json()["state"] == "succeeded", 60)
        assert until(lambda: "X-RateLimit-Limit" in client.api.get(f"{server.url}/sourceimages/acme").headers)
        assert client.upload(3).status_code == 200
    finally:
        redis.stop()


@pytest.mark.any_database
def test_postgresql_refuses_connections_and_is_restarted(make_server):
    postgresql = PostgreSQL(free_port())
    try:
        postgresql.start()
        server = make_server(**ONE_WORKER, JOB_RUNNER="inline")
        server.environment["DATABASE_URL"] = postgresql.url
        assert server.manage("migrate", "--verbosity", "0").returncode == 0
        created = server.manage("create_organization", "acme", "--email", "alice@example.org", "--json")
        server.api_key = json.loads(created.stdout)["api_key"]
        client = client_of(server)

        postgresql.refuse_connections(refused=True)
        assert client.problems() == {"database"}  # though this process has connections
        postgresql.refuse_connections(refused=False)
        assert client.problems() == set()

        postgresql.stop()
        assert client.problems() == {"database", "migrations", "owner"}
        requested = [client.upload(1), client.upload_in_admin(2), client.render(20), client.image("DELETE")]
        for response in [*requested, client.job("delete_all"), client.page(), client.page("")]:
            assert_unavailable(response)
        postgresql.start()
        client.works(30)
        assert server.manage("check_consistency").stdout.strip() == "No problems found."
    finally:
        postgresql.close()
