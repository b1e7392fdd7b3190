"""A real Celery worker on Redis, killed in the middle."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests import images
from tests.conftest import PYTHON, ROOT


@pytest.fixture
def queue():
    """REDIS_URL, with an empty database behind it."""
    url = os.environ.get("REDIS_URL")
    if not url:
        pytest.skip("REDIS_URL is not set: tasks on a worker were left out")
    connection = redis.Redis.from_url(url)
    connection.flushdb()
    yield url
    connection.flushdb()


@contextmanager
def worker(server) -> Iterator[None]:
    """A worker that is ready, and is killed at the end."""
    log = server.data_dir / f"worker{time.monotonic()}"
    command = [
        Path(PYTHON).parent / "celery",
        "-A",
        "rokka",
        "worker",
        "--concurrency",
        "1",
        "-Q",
        "interactive,upkeep",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=server.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        assert until(lambda: " ready." in log.read_text()), log.read_text()
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def send_sweep(server) -> None:
    sent = server.manage("shell", "-c", "from sourceimages.tasks import sweep; sweep.delay()")
    assert sent.returncode == 0, sent.stderr


def until(condition, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_a_worker_sweeps_and_survives_being_killed(queue, make_server):
    server = make_server(REDIS_URL=queue, GRACE_SECONDS="1", LOG_LEVEL="INFO").start()
    kept = server.upload(images.png()).json()["items"][0]
    stray = server.data_dir / "files" / "acme" / "stray"
    stray.parent.mkdir()
    stray.write_bytes(b"left behind")
    server.wait_for_grace_time()

    with worker(server):
        pass
    send_sweep(server)
    assert stray.exists()
    with worker(server):
        assert until(lambda: not stray.exists())

    downloaded = server.session().get(f"{server.url}{kept['link']}/download")
    assert downloaded.content == images.png()
    assert server.manage("check_consistency").stdout.strip() == "everything holds"


def test_without_redis_tasks_run_where_they_are_called(make_server):
    server = make_server(GRACE_SECONDS="1")
    server.environment.pop("REDIS_URL", None)
    stray = server.data_dir / "files" / "acme" / "stray"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"left behind")
    server.wait_for_grace_time()
    send_sweep(server)
    assert not stray.exists()


def test_the_server_is_not_ready_without_its_redis(make_server):
    server = make_server(REDIS_URL="redis://127.0.0.1:9/0")
    with pytest.raises(AssertionError):
        server.start(seconds=4)
    assert '"check": "cache"' in server.log.read_text()
