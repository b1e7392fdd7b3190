"""Locks by name, across threads, processes and, with Redis, machines. That of a killed process is free after seconds.

A lock can be lost, if Redis fails or its process is stopped for seconds. It only saves work: what it guards has to be
safe if two processes do it at once.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from threading import Event, Thread
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from rokka.core import temp_files
from rokka.core.errors import Conflict

if TYPE_CHECKING:
    import redis
    from redis.lock import Lock

LOCK_SECONDS = 6  # after which the lock of a killed process is free
RENEWAL_SECONDS = 2  # between two renewals

log = structlog.get_logger()


class AlreadyRunning(Conflict):
    """Another process is doing the same."""


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Context, or decorator, in which no other process runs the scheduled task or command of this name.

    Raises AlreadyRunning, without waiting.
    """
    with try_lock(f"task-{name}") as acquired:
        if not acquired:
            raise AlreadyRunning(f"{name} is already running in another process. Try again when that has finished.")
        yield


@contextmanager
def try_lock(key: str) -> Iterator[bool]:
    """Context in which this thread holds the lock of the key, if it gives True. Does not wait."""
    if settings.REDIS_URL:
        import redis

        name = f"{settings.REDIS_PREFIX}:lock:{key}"
        lock = _redis().lock(name, timeout=LOCK_SECONDS, blocking=False, thread_local=False)
        try:
            acquired = lock.acquire()
        except redis.RedisError:  # without Redis, the lock is only unique per machine
            log.warning("lock.failed", exc_info=True)
        else:
            with _renewed(lock) if acquired else nullcontext():
                yield acquired
            return
    with _file_lock(key) as acquired:
        yield acquired


@contextmanager
def _renewed(lock: "Lock") -> Iterator[None]:
    """Renew the lock until the end of the context, then release it."""
    import redis
    from redis.exceptions import LockError

    done = Event()

    def renew() -> None:
        while not done.wait(RENEWAL_SECONDS):
            with suppress(LockError, redis.RedisError):
                lock.extend(LOCK_SECONDS, replace_ttl=True)

    Thread(target=renew, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        with suppress(LockError, redis.RedisError):
            lock.release()


@contextmanager
def _file_lock(key: str) -> Iterator[bool]:
    """A lock of the kernel on a file of the key, which ends with the process."""
    path = settings.LOCK_DIR / f"{key}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # a full or read-only disk
        log.warning("lock.failed", exc_info=True)
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            # Another process may have removed the file between our opening and locking it.
            yield _is_file(path, descriptor)
        finally:
            temp_files.remove(path)
    finally:
        os.close(descriptor)


def _is_file(path: os.PathLike[str], descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


@cache
def _redis() -> "redis.Redis":
    import redis

    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=1)
