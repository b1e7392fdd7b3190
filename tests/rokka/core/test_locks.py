"""One holder per key, across threads and processes, with Redis and without."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rokka.core import locks
from rokka.core.locks import try_lock
from tests.conftest import ROOT

HOLDER = """
import sys, time, django
django.setup()
from rokka.core import locks
from rokka.core.locks import try_lock
with try_lock(sys.argv[1]) as acquired:
    print(acquired, flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["file", "redis"])
def backend(request, settings, tmp_path):
    if request.param == "file":
        settings.REDIS_URL = ""
    elif not settings.REDIS_URL:
        pytest.skip("REDIS_URL is not set")
    settings.LOCK_DIR = tmp_path


def test_the_first_one_gets_the_lock(backend):
    with try_lock("a") as first, try_lock("a") as second, try_lock("b") as other:
        assert (first, second, other) == (True, False, True)


def test_a_lock_is_free_again_after_use(backend):
    with try_lock("a"):
        pass
    with try_lock("a") as again:
        assert again


def test_a_lock_is_free_again_after_an_error(backend):
    with pytest.raises(ValueError, match="broken"), try_lock("a"):
        raise ValueError("broken")
    with try_lock("a") as again:
        assert again


@pytest.mark.any_database
def test_a_lock_file_is_removed(settings, tmp_path):
    settings.REDIS_URL, settings.LOCK_DIR = "", tmp_path
    with try_lock("a"):
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.any_database
def test_without_redis_the_lock_of_a_killed_process_is_free_at_once(settings, tmp_path):
    settings.REDIS_URL, settings.LOCK_DIR = "", settings.DATA_DIR / "locks"
    environment = {**os.environ, "REDIS_URL": "", "JOB_RUNNER": "inline", "DJANGO_SETTINGS_MODULE": "rokka.settings"}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "killed"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with try_lock("killed") as acquired:
            assert not acquired
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with try_lock("killed") as acquired:
                if acquired:
                    return
        pytest.fail("The lock is still held.")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.any_database
def test_locks_work_without_a_reachable_redis(settings, tmp_path, monkeypatch):
    settings.REDIS_URL, settings.LOCK_DIR = "redis://127.0.0.1:1/0", tmp_path
    locks._redis.cache_clear()
    try:
        with try_lock("a") as first, try_lock("a") as second:
            assert (first, second) == (True, False)
    finally:
        locks._redis.cache_clear()


def test_a_lock_in_redis_is_held_beyond_its_time_while_its_process_lives(settings, monkeypatch):
    if not settings.REDIS_URL:
        pytest.skip("REDIS_URL is not set")
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.4)
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.1)
    with try_lock("long") as first:
        time.sleep(1)
        with try_lock("long") as second:
            assert (first, second) == (True, False)


def test_a_lock_in_redis_is_free_some_seconds_after_its_process_was_killed(settings, monkeypatch):
    if not settings.REDIS_URL:
        pytest.skip("REDIS_URL is not set")
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.4)
    locks._redis().lock(f"{settings.REDIS_PREFIX}:lock:left", timeout=0.4, blocking=False).acquire()
    with try_lock("left") as at_once:
        assert not at_once
    time.sleep(0.5)
    with try_lock("left") as later:
        assert later
