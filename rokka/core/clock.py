"""Times as they are written, and the clock that deletions, expiry and maintenance go by: the database's.

That is the same for all machines: a web process a month behind, or a worker two hours ahead, must not decide what is
over.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models.functions import Now


def from_iso(text: str) -> datetime:
    """A time in ISO 8601; RFC 3339 allows `t` and `z` as well. Without a zone if it names none. Raises ValueError."""
    return datetime.fromisoformat(text.upper())


class DatabaseNow(Now):
    """The time of the statement, to compare columns with. In microseconds on SQLite too, as its columns are stored."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="ROKKA_NOW()", **context)


def database_now() -> datetime:
    """The time of the database, to be stored; one query."""
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("SELECT ROKKA_NOW()" if sqlite else "SELECT CLOCK_TIMESTAMP()")
        (now,) = cursor.fetchone()
    return datetime.fromisoformat(now).replace(tzinfo=UTC) if sqlite else now
