"""kill -9 of workers that copy and purge, again and again: what was begun is finished, and each picture counts once."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import PYTHON, ROOT
from tests.support import images
from tests.system.conftest import Server, Worker, until, worker

MANY, FEW = 300, 40
PREFIX = "lifecycle"  # by default, that of beat would be another one: it has its own database
WORKING = 0.5  # seconds, the most until the next kill
PATIENCE = 60  # seconds, on a busy machine

# Copies in the trash whose time is over; what earlier tests left there is gone.
IN_TRASH = """
from django.utils import timezone
from organizations.audit import COMMAND
from organizations.models import Organization
from sourceimages import jobs
from sourceimages.maintenance import purge
from sourceimages.models import Tombstone

purge.purge_expired()
source, trash = (Organization.objects.get(name=name) for name in {names})
jobs.run(jobs.start_copy_all(source, trash, overwrite=False, actor=COMMAND).pk)
jobs.run(jobs.start_delete_all(trash, actor=COMMAND).pk)
Tombstone.objects.filter(organization=trash).update(expires_at=timezone.now(), purge_confirmed=True)
"""

DESCRIBE = """
from organizations.audit import COMMAND
from organizations.models import Organization
from sourceimages import jobs
from sourceimages.jobs.selection import Selection

few = Selection(Organization.objects.get(name="few"), in_trash=False)
print(jobs.start_bulk_action("set_metadata", few, actor=COMMAND, changes={"seen": "yes"}).pk)
"""

COUNT = """
from organizations.models import AuditEvent, Organization

few = Organization.objects.get(name="few")
print(AuditEvent.objects.filter(organization=few, action="image.metadata_updated").count())
print(sum(image.user_metadata == {"seen": "yes"} for image in few.images.active()))
"""

UNDO = """
from organizations.audit import COMMAND
from organizations.models import Organization
from sourceimages import jobs
from sourceimages.jobs.selection import Selection

few = Selection(Organization.objects.get(name="few"), in_trash=False)
marked = jobs.run(jobs.start_bulk_action("set_metadata", few, actor=COMMAND, changes={"mark": "x"}).pk)
print(jobs.start_undo(marked, actor=COMMAND).pk)
"""

COUNT_UNDONE = """
from organizations.models import AuditEvent, Organization

few = Organization.objects.get(name="few")
print(AuditEvent.objects.filter(organization=few, action="image.version_restored").count())
print(sum("mark" not in image.user_metadata for image in few.images.active()))
"""

COLLECT_AND_CHECK = """
from django.core.management import call_command
from sourceimages.maintenance import garbage_collection

garbage_collection.collect_garbage(at_once=True)
call_command("check_consistency", verify_checksums=True)
"""


@pytest.fixture(scope="module")
def beat(queue: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What looks every second whether there is something to do."""
    folder = tmp_path_factory.mktemp("beat")
    command = [Path(PYTHON).parent / "celery", "-A", "tests.system.small_batches", "beat"]
    command += ["--schedule", str(folder / "schedule"), "--pidfile", ""]
    variables = environment | {"REDIS_URL": queue, "REDIS_PREFIX": PREFIX, "DATA_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
    yield
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def origin(queue: str, beat: None, make_module_server: Callable[..., Server]) -> Server:
    """A server with many pictures in acme, and a few in the organization few."""
    server = make_module_server(REDIS_URL=queue, REDIS_PREFIX=PREFIX, LOG_LEVEL="INFO").start()
    found(server, "few")
    for organization, count in (("acme", MANY), ("few", FEW)):
        contents = [images.png(seed=seed) for seed in range(count)]
        for start in range(0, count, 20):
            upload(server, organization, contents[start : start + 20])
    return server


def call(server: Server, method: str, path: str, **body: Any) -> Any:
    response = server.session().request(method, server.url + path, timeout=60, **body)
    assert response.ok, response.text
    return response.json()


def found(server: Server, organization: str) -> None:
    call(server, "PUT", f"/organizations/{organization}", json={"billing_email": "alice@example.org"})


def upload(server: Server, organization: str, contents: list[bytes]) -> None:
    files = [("filedata", (f"{position}.png", content)) for position, content in enumerate(contents)]
    call(server, "POST", f"/sourceimages/{organization}", files=files)


def start_copying(server: Server, source: str, destination: str) -> Callable[[], dict[str, Any]]:
    """Start a job; answers a function that tells how far it is."""
    found(server, destination)
    job = call(server, "POST", f"/jobs/{source}", json={"kind": "copy_all", "destination": destination})
    return lambda: call(server, "GET", f"/jobs/{source}/{job['id']}")


def listed(server: Server, organization: str) -> list[str]:
    page = call(server, "GET", f"/sourceimages/{organization}?limit=2000")
    assert page["total"] == len(page["items"])
    return [item["hash"] for item in page["items"]]


def put_in_trash(server: Server, source: str, organization: str) -> None:
    """Copies of all pictures of the source, whose time in the trash of the organization is over."""
    found(server, organization)
    done = server.manage("shell", "-c", IN_TRASH.format(names=(source, organization)))
    assert done.returncode == 0, done.stderr


def purged(server: Server, organization: str) -> int:
    """How many pictures were purged, as the audit trail says."""
    events = call(server, "GET", f"/audit/{organization}?action=deletion.purged&limit=1000")["items"]
    return sum(event["count"] for event in events)


def bulk_worker(server: Server, **variables: str) -> Any:
    return worker(server, "bulk", "maintenance", app="tests.system.small_batches", **variables)


def harass(worker: Worker) -> int:
    """Kill the worker's child, then the worker; answers how many that were."""
    time.sleep(random.random() * WORKING)
    worker.kill_child()
    time.sleep(random.random() * WORKING)
    worker.kill()
    return 2


def checked_after_a_collection(server: Server) -> str:
    """What check_consistency says once garbage collection has taken what the kills left behind."""
    return server.after_grace_time().manage("shell", "--verbosity", "0", "-c", COLLECT_AND_CHECK).stdout.strip()


def test_everything_is_copied_once_however_often_workers_are_killed(origin, queue):
    progress = start_copying(origin, "acme", "often")
    kills = 0
    while kills < 10:
        with bulk_worker(origin) as running:
            begun = progress()["processed"]
            assert until(lambda begun=begun: progress()["processed"] > begun, PATIENCE)
            if kills == 4:
                redis.Redis.from_url(queue).flushdb()
            kills += harass(running)
    assert progress()["processed"] < MANY  # or the last kills met nobody at work
    with bulk_worker(origin):
        assert until(lambda: progress()["state"] == "succeeded", PATIENCE)

    job = progress()
    assert (job["total"], job["processed"], job["failed"], job["counts"]) == (MANY, MANY, 0, {"created": MANY})
    assert sorted(listed(origin, "often")) == sorted(listed(origin, "acme"))
    assert len(call(origin, "GET", "/audit/acme?action=job.succeeded")["items"]) == 1
    assert checked_after_a_collection(origin) == "No problems found."


@pytest.mark.parametrize(("place", "progresses"), [("copy.stored", False), ("copy.committed", True)])
def test_a_worker_that_is_always_killed_at_the_same_place_of_copying_loses_and_doubles_nothing(
    origin, place, progresses
):
    destination = place.replace(".", "-")
    progress = start_copying(origin, "few", destination)
    with bulk_worker(origin, ROKKA_FAILPOINT=place) as running:
        assert until(lambda: running.children_killed() >= 2, PATIENCE)
    assert bool(progress()["processed"]) == progresses
    assert len(listed(origin, destination)) == progress()["processed"]
    with bulk_worker(origin):
        assert until(lambda: progress()["state"] == "succeeded", PATIENCE)

    job = progress()
    assert (job["total"], job["processed"], job["failed"], job["counts"]) == (FEW, FEW, 0, {"created": FEW})
    assert sorted(listed(origin, destination)) == sorted(listed(origin, "few"))
    assert checked_after_a_collection(origin) == "No problems found."


def test_each_picture_is_described_once_however_often_workers_are_killed(origin):
    job = origin.manage("shell", "--verbosity", "0", "-c", DESCRIBE).stdout.strip()

    def progress() -> dict[str, Any]:
        return dict(call(origin, "GET", f"/jobs/few/{job}"))

    def described() -> list[str]:
        return origin.manage("shell", "--verbosity", "0", "-c", COUNT).stdout.split()

    with bulk_worker(origin, ROKKA_FAILPOINT="bulk_action.applied") as running:  # always in the middle of the first
        assert until(lambda: running.children_killed() >= 2, PATIENCE)
    assert (progress()["processed"], described()) == (0, ["0", "0"])
    for _ in range(3):
        with bulk_worker(origin) as running:
            begun = progress()["processed"]
            assert until(lambda begun=begun: progress()["processed"] > begun, PATIENCE)
            harass(running)
    assert progress()["processed"] < FEW  # or the last kills met nobody at work
    with bulk_worker(origin):
        assert until(lambda: progress()["state"] == "succeeded", PATIENCE)

    assert progress()["counts"] == {"updated": FEW}
    assert described() == [str(FEW), str(FEW)]
    assert checked_after_a_collection(origin) == "No problems found."


def test_each_picture_is_undone_once_however_often_workers_are_killed(origin):
    job = origin.manage("shell", "--verbosity", "0", "-c", UNDO).stdout.strip()

    def progress() -> dict[str, Any]:
        return dict(call(origin, "GET", f"/jobs/few/{job}"))

    def undone() -> list[str]:
        return origin.manage("shell", "--verbosity", "0", "-c", COUNT_UNDONE).stdout.split()

    with bulk_worker(origin, ROKKA_FAILPOINT="undo.applied") as running:  # always in the middle of the first
        assert until(lambda: running.children_killed() >= 2, PATIENCE)
    assert (progress()["processed"], undone()) == (0, ["0", "0"])
    with bulk_worker(origin) as running:
        assert until(lambda: progress()["processed"] > 0, PATIENCE)
        harass(running)
    with bulk_worker(origin):
        assert until(lambda: progress()["state"] == "succeeded", PATIENCE)

    assert progress()["counts"] == {"undone": FEW}
    assert undone() == [str(FEW), str(FEW)]
    assert checked_after_a_collection(origin) == "No problems found."


def test_everything_is_purged_once_however_often_workers_are_killed(origin):
    put_in_trash(origin, "acme", "past")
    kills = 0
    while kills < 6:
        with bulk_worker(origin) as running:
            begun = purged(origin, "past")
            assert until(lambda begun=begun: purged(origin, "past") > begun, PATIENCE)
            kills += harass(running)
    assert purged(origin, "past") < MANY
    with bulk_worker(origin):
        assert until(lambda: purged(origin, "past") >= MANY, PATIENCE)

    assert purged(origin, "past") == MANY
    assert len(listed(origin, "acme")) == MANY
    assert checked_after_a_collection(origin) == "No problems found."


@pytest.mark.parametrize(("place", "progresses"), [("purge.deleted", False), ("purge.committed", True)])
def test_a_worker_that_is_always_killed_at_the_same_place_of_purging_leaves_at_most_bytes(origin, place, progresses):
    organization = place.replace(".", "-")
    put_in_trash(origin, "few", organization)
    with bulk_worker(origin, ROKKA_FAILPOINT=place) as running:
        assert until(lambda: running.children_killed() >= 2, PATIENCE)
    assert bool(purged(origin, organization)) == progresses
    assert origin.manage("check_consistency", "--verify-checksums").stdout.strip().endswith("No problems found.")
    with bulk_worker(origin):
        assert until(lambda: purged(origin, organization) >= FEW, PATIENCE)

    assert purged(origin, organization) == FEW
    assert len(listed(origin, "few")) == FEW
    assert checked_after_a_collection(origin) == "No problems found."


def test_everything_is_copied_once_on_s3(queue, beat, make_server, empty_bucket):
    server = make_server(REDIS_URL=queue, REDIS_PREFIX=PREFIX, STORAGE_URL=empty_bucket, LOG_LEVEL="INFO").start()
    contents = [images.png(seed=seed) for seed in range(5)]
    upload(server, "acme", contents)
    progress = start_copying(server, "acme", "stage")
    with bulk_worker(server, ROKKA_FAILPOINT="copy.stored") as running:
        assert until(lambda: running.children_killed() >= 2, PATIENCE)
    assert progress()["processed"] == 0
    with bulk_worker(server):
        assert until(lambda: progress()["state"] == "succeeded", PATIENCE)

    assert progress()["counts"] == {"created": 5}
    assert sorted(listed(server, "stage")) == sorted(listed(server, "acme"))
    assert checked_after_a_collection(server) == "No problems found."
