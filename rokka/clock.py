"""The clock that deletions, expiry and maintenance go by: the database's, which is the same for all machines.

A web process a month behind, or a worker two hours ahead, must not decide what is over.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models.functions import Now


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
