"""Limits on the time that the database works for a request or a task.

The statements of a request share its limit. Only the time in which the database works is counted, not that in which a
client sends a file. The database ends a statement that reaches the limit, and statements after it are refused. The
backends (`rokka.core.postgresql`, `rokka.core.sqlite3`) apply the limits; see their descriptions.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings

from rokka.core.errors import Unavailable

READ, WRITE, SEARCH, JOB = (f"{kind}_TIMEOUT_SECONDS" for kind in ("READ", "WRITE", "SEARCH", "JOB"))
# Others, such as ROLLBACK TO SAVEPOINT, are quick, and must succeed after the limit has been reached.
LIMITED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|\()", re.IGNORECASE)
PRECISION = 0.9  # share of a limit after which a cancelled statement counts as cancelled by it


class TimeLimitExceeded(Unavailable):
    """The database needs more time for the request than it may have."""

    reason = "time_limit_exceeded"
    retry_seconds = 30  # the same request is only faster if the server is less busy then


class TimeLimit:
    """The limit in the setting of this name, and the seconds that are used up.

    `per_statement`: each statement has all the seconds. `part` is what the database does now, for the message. With
    `parallel` False, PostgreSQL uses one process per statement, which leaves the others to other requests.
    """

    def __init__(self, name: str, seconds: float, *, per_statement: bool = False) -> None:
        self.name, self.seconds, self.per_statement = name, seconds, per_statement
        self.used, self.parallel = 0.0, True
        self.part, self.advice = "", ""
        self._started: float | None = None

    @property
    def remaining(self) -> float:
        """Seconds, not below zero."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return max(0.0, self.seconds - self.used - running)

    def is_over(self) -> bool:
        """Return whether a statement is running and has to end."""
        return self._started is not None and not self.remaining

    def is_reached(self) -> bool:
        """Return whether nearly all of the time is used up."""
        return self.remaining <= (1 - PRECISION) * self.seconds

    @contextmanager
    def running(self) -> Iterator[float]:
        """Count the time of the block; the value is the seconds that remain. Raises TimeLimitExceeded if none do."""
        if self.per_statement:
            self.used = 0.0
        if not (seconds := self.remaining):
            raise self.exceeded()
        self._started = time.monotonic()
        try:
            yield seconds
        finally:
            self.used += time.monotonic() - self._started
            self._started = None

    def exceeded(self) -> TimeLimitExceeded:
        where = f" while it {self.part}" if self.part else ""
        return TimeLimitExceeded(
            f"The database needed more than {self.seconds:g} seconds for this request ({self.name}){where}. "
            f"{self.advice or 'Try again later.'}"
        )


_current: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)


def current_for(query: Any) -> TimeLimit | None:
    """The limit that applies to a statement, if any."""
    limit = _current.get()
    return limit if limit is not None and isinstance(query, str) and LIMITED.match(query) else None


def current() -> TimeLimit | None:
    return _current.get()


@contextmanager
def limited(name: str, *, per_statement: bool = False, used: float = 0.0) -> Iterator[TimeLimit]:
    """Apply the limit in the setting of this name to the block. `used` are seconds that an earlier block has used up.

    Within another limit, only what remains of it can be used, unless this one is `per_statement`, as jobs are.
    """
    outer, seconds = _current.get(), float(getattr(settings, name))
    inherits = outer is not None and not outer.per_statement and not per_statement
    if outer is not None and inherits and outer.remaining < seconds:
        name, seconds = outer.name, outer.remaining
    limit = TimeLimit(name, seconds, per_statement=per_statement)
    limit.used = used
    token = _current.set(limit)
    try:
        yield limit
    finally:
        _current.reset(token)
        if outer is not None and inherits:
            outer.used += limit.used - used


@contextmanager
def part(description: str, advice: str) -> Iterator[None]:
    """Name what the database does in the block ("counted the results"), and how to ask for less, for the message."""
    limit = _current.get()
    if limit is None:
        yield
        return
    before = limit.part, limit.advice
    limit.part, limit.advice = description, advice
    yield
    limit.part, limit.advice = before  # not after an error, whose message names this part
