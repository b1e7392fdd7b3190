"""Django's SQLite backend with a fair queue for writers.

In SQLite, waiting writers poll, so that one can starve for seconds under load. Here, a transaction first acquires a
thread lock and then an `flock` shared with other processes, both of which queue.
"""

import fcntl
import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.db.backends.sqlite3 import base


class WriteLock:
    """A lock for one writer per database file, first among the threads of this process, then among processes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.thread_lock = threading.Lock()

    def acquire(self) -> Any:
        self.thread_lock.acquire()
        try:
            file = open(self.path, "w")  # noqa: SIM115 (closing it releases the lock)
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            self.thread_lock.release()
            raise
        return file

    def release(self, file: Any) -> None:
        file.close()
        self.thread_lock.release()


class WriteLocks(defaultdict[str, WriteLock]):
    def __missing__(self, path: str) -> WriteLock:
        self[path] = WriteLock(path)
        return self[path]


locks = WriteLocks()


def now() -> str:
    """Return the current time as stored in columns, with microseconds; SQLite's functions have only milliseconds."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"


class DatabaseWrapper(base.DatabaseWrapper):
    write_lock: Any = None

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        # Deterministic: evaluated once per statement, not once per row.
        connection.create_function("ROKKA_NOW", 0, now, deterministic=True)
        return connection

    def _start_transaction_under_autocommit(self) -> None:
        name = str(self.settings_dict["NAME"])
        lock = None if ":memory:" in name or "mode=memory" in name else locks[f"{name}.lock"]
        file = lock.acquire() if lock else None
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            if lock:
                lock.release(file)
            raise
        self.write_lock = (lock, file) if lock else None

    def _release(self) -> None:
        if self.write_lock:
            (lock, file), self.write_lock = self.write_lock, None
            lock.release(file)

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]
        if autocommit:  # the end of a transaction, committed or rolled back
            self._release()

    def _close(self) -> None:
        super()._close()  # type: ignore[misc]
        self._release()
