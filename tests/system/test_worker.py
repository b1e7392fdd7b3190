"""A real Celery worker on Redis, killed in the middle."""

import pytest

from tests.support import images
from tests.system.conftest import until, worker

LEAVE_BEHIND = """
from organizations.models import Organization
from sourceimages import ownership
from sourceimages.storage import new_key
from tests.support import storage

ownership.check_writable()  # the storage has its mark before there are files
key = new_key(Organization.objects.get().pk, "ab" * 20)
storage.put(key, b"left behind")
print(key)
"""


RUN_SCHEDULED = """
from rokka.celery import app
from celery.utils.imports import symbol_by_name

scheduler = symbol_by_name(app.conf.beat_scheduler)(app, lazy=True)
scheduler.apply_async(scheduler.Entry(name="collect_garbage", app=app, **app.conf.beat_schedule["collect_garbage"]))
"""


def left_behind(server):
    """A file that no row names."""
    key = server.manage("shell", "--verbosity", "0", "-c", LEAVE_BEHIND).stdout.strip()
    return server.data_dir / "files" / key


def send_garbage_collection(server) -> None:
    command = "from sourceimages.tasks import collect_garbage; collect_garbage.delay()"
    sent = server.manage("shell", "-c", command)
    assert sent.returncode == 0, sent.stderr


def test_a_worker_collects_garbage_and_survives_being_killed(queue, make_server):
    server = make_server(REDIS_URL=queue, LOG_LEVEL="INFO").start()
    kept = server.upload(images.png()).json()["items"][0]
    stray = left_behind(server)
    later = server.after_grace_time()

    with worker(later, "interactive", "maintenance"):
        pass
    send_garbage_collection(later)
    assert stray.exists()
    with worker(later, "interactive", "maintenance"):
        assert until(lambda: not stray.exists())

    downloaded = server.session().get(f"{server.url}{kept['link']}/download")
    assert downloaded.content == images.png()
    assert server.manage("check_consistency").stdout.strip() == "No problems found."


def test_without_redis_the_scheduler_runs_tasks_itself(make_server):
    server = make_server()
    server.environment.pop("REDIS_URL", None)
    orphan = left_behind(server)
    run = server.after_grace_time().manage("shell", "--verbosity", "0", "-c", RUN_SCHEDULED)
    assert run.returncode == 0, run.stderr
    assert not orphan.exists()


def test_the_server_is_not_ready_without_its_redis(make_server):
    server = make_server(REDIS_URL="redis://127.0.0.1:9/0")
    with pytest.raises(AssertionError):
        server.start(seconds=10)
    assert '"check": "cache"' in server.log.read_text()
