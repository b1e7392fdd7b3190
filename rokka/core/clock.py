"""The database's clock, which deletion, expiry and maintenance use, and times as text.

It is the same for all machines: a machine with a wrong clock must not decide what has expired.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models.functions import Now


def from_iso(text: str) -> datetime:
    """Parse ISO 8601, including the lowercase `t` and `z` of RFC 3339; naive without a time zone. Raises ValueError."""
    return datetime.fromisoformat(text.upper())


def rfc3339(time: datetime) -> str:
    """Format a time in UTC with whole seconds and `+00:00`, which all clients can parse."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


class DatabaseNow(Now):
    """The time of the statement, to compare with columns; with microseconds on SQLite too, like stored values."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="ROKKA_NOW()", **context)


def database_now() -> datetime:
    """Return the current time of the database. Runs one query."""
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("SELECT ROKKA_NOW()" if sqlite else "SELECT CLOCK_TIMESTAMP()")
        (now,) = cursor.fetchone()
    return datetime.fromisoformat(now).replace(tzinfo=UTC) if sqlite else now
