"""Django's SQLite backend, with a fair queue for writers.

SQLite lets waiting writers poll, so that under load one of them can starve for seconds. Here a transaction first
takes a lock of ours, a thread lock and then `flock` for other processes, whose waiting is in turn.
"""

import fcntl
import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.db.backends.sqlite3 import base


class WriteLock:
    """One writer at a time for one database file: over the threads of this process, then over all processes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.thread_lock = threading.Lock()

    def acquire(self) -> Any:
        self.thread_lock.acquire()
        try:
            file = open(self.path, "w")  # noqa: SIM115 (closing it is what releases the lock)
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
    """The time as columns hold it. SQLite's own functions know milliseconds only."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"


class DatabaseWrapper(base.DatabaseWrapper):
    write_lock: Any = None

    def get_new_connection(self, conn_params: Any) -> Any:
        made = super().get_new_connection(conn_params)
        # Deterministic means once for a statement, not once for every row.
        made.create_function("ROKKA_NOW", 0, now, deterministic=True)
        return made

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
