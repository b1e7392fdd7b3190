"""Django's SQLite backend with a fair queue for writers.

In SQLite, waiting writers poll, so that one can starve for seconds under load. Here, a transaction first acquires a
thread lock and then an `flock` shared with other processes, both of which queue.

Statements have time limits, see `rokka.core.time_limits`. SQLite works while rows are fetched too, and calls a function
of the connection at intervals, which decides whether to continue.
"""

import fcntl
import os
import sqlite3
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

from rokka.core import time_limits

# Wherever psycopg is installed, DRF imports it, with the fields of PostgreSQL. Without them, DRF does without.
sys.modules.setdefault("django.contrib.postgres.fields", None)  # type: ignore[arg-type]

INSTRUCTIONS_BETWEEN_CHECKS = 100_000  # of SQLite's virtual machine: a few milliseconds


class WriteLock:
    """A lock for one writer per database file, first among the threads of this process, then among processes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.thread_lock = threading.Lock()

    def acquire(self) -> Any:
        """Return the lock file, to be released. Raises OperationalError, such as for a read-only folder."""
        self.thread_lock.acquire()
        try:
            file = open(self.path, "w")  # noqa: SIM115 (closing it releases the lock)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            self.thread_lock.release()
            raise OperationalError(f"the lock of the database can't be acquired: {error}") from error
        except BaseException:
            self.thread_lock.release()
            raise
        return file

    def release(self, file: Any) -> None:
        try:
            file.close()
        finally:
            self.thread_lock.release()


class WriteLocks(defaultdict[str, WriteLock]):
    def __missing__(self, path: str) -> WriteLock:
        self[path] = WriteLock(path)
        return self[path]


locks = WriteLocks()


def now() -> str:
    """Return the current time as stored in columns, with microseconds; SQLite's functions have only milliseconds."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"


def is_over() -> bool:
    limit = time_limits.current()
    return limit is not None and limit.is_over()


class Cursor(base.SQLiteCursorWrapper):
    limit: time_limits.TimeLimit | None = None  # of the last statement

    def execute(self, query: Any, params: Any = None) -> Any:
        self.limit = time_limits.current_for(query)
        return self._limited(super().execute, query, params)

    def fetchone(self) -> Any:
        return self._limited(super().fetchone)

    def fetchmany(self, size: int | None = 1) -> Any:
        return self._limited(super().fetchmany, size)

    def fetchall(self) -> Any:
        return self._limited(super().fetchall)

    def __next__(self) -> Any:
        return self._limited(super().__next__)

    def _limited(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.limit is None or self.limit is not time_limits.current():  # or rows are streamed after the request
            return function(*arguments)
        with self.limit.running():
            try:
                return function(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise self.limit.exceeded() from error
                raise


class DatabaseWrapper(base.DatabaseWrapper):
    write_lock: Any = None
    opened_read_only = False

    def close_if_unusable_or_obsolete(self) -> None:
        """Before each request, also close a connection that was opened while the file could not be written.

        SQLite opens such a file read-only, and never opens it again when it can be written.
        """
        if self.opened_read_only and not self.in_atomic_block:
            self.close()
        super().close_if_unusable_or_obsolete()

    def is_usable(self) -> bool:
        """Whether the connection is kept; not after an error, unlike Django's: the disk may have failed."""
        return not self.errors_occurred

    def get_new_connection(self, conn_params: Any) -> Any:
        name = str(self.settings_dict["NAME"])
        self.opened_read_only = os.path.exists(name) and not os.access(name, os.W_OK)
        connection = super().get_new_connection(conn_params)
        # Deterministic: evaluated once per statement, not once per row.
        connection.create_function("ROKKA_NOW", 0, now, deterministic=True)
        connection.set_progress_handler(is_over, INSTRUCTIONS_BETWEEN_CHECKS)
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)

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
