"""Django's PostgreSQL backend with statements that are planned once, health checks without a query, and time limits.

A statement with a time limit (`rokka.core.time_limits`) is sent with `SET LOCAL statement_timeout` before it, as one
message. That takes no additional round trip. PostgreSQL runs the statements of a message in one transaction, to whose
end `SET LOCAL` is limited. So it can't affect another request, even if a connection pooler assigns the connection to
another client after each transaction.
"""

import math
import re
import select
from functools import lru_cache
from typing import Any, Self

import psycopg
from django.db.backends.postgresql import base
from psycopg.errors import QueryCanceled

from rokka.core import time_limits

# psycopg's, of which Django's type stubs only know version 2
BaseCursor: Any = base.Cursor
RawCursor: Any = psycopg.RawCursor
PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<type>[s%])")


class Cursor(BaseCursor):
    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        limit = time_limits.current_for(query)
        if limit is None:
            super().execute(query, params, **options)
            return self
        with limit.running() as seconds:
            settings = f"SET LOCAL statement_timeout = {math.ceil(seconds * 1000)}; "
            if not limit.parallel:
                settings += "SET LOCAL max_parallel_workers_per_gather = 0; "
            try:
                super().execute(settings + query, params, **options)
            except QueryCanceled as error:
                if limit.is_reached():
                    raise limit.exceeded() from error
                raise  # cancelled with pg_cancel_backend()
        for _ in range(1 if limit.parallel else 2):
            self.nextset()  # from the results of SET to that of the query
        return self


class PreparedCursor(base.CursorMixin, RawCursor):
    """A cursor with server-side parameters, whose statements are parsed once.

    psycopg would parse those with many parameters, or a long text, again each time.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        text, names = _numbered(query)
        super().execute(text, [params[name] for name in names] if names else params, **options)
        return self


@lru_cache(maxsize=256)
def _numbered(query: str) -> tuple[str, list[str]]:
    """The statement with `$1` instead of `%s` or `%(name)s`, and the names of its parameters in this order."""
    names: list[str] = []
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match["type"] == "%":
            return "%"
        if match["name"] is None:
            count += 1
            return f"${count}"
        if match["name"] not in names:
            names.append(match["name"])
        return f"${names.index(match['name']) + 1}"

    return PLACEHOLDER.sub(number, query), names


class DatabaseWrapper(base.DatabaseWrapper):
    connection: Any
    _prepare_cursor: Any

    def prepared_cursor(self) -> Any:
        """A cursor with server-side parameters, for statements that run often.

        psycopg prepares a statement after it was executed five times in a connection, so that PostgreSQL does not plan
        it again. Cursors of Django insert the parameters into the statement, which is different each time.

        It has the time limit of the connection, see `rokka.core.connections`: these statements take milliseconds, and
        can't be sent together with another one.
        """
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._prepare_cursor(PreparedCursor(self.connection))

    def get_new_connection(self, conn_params: Any) -> Any:
        """Return a new connection, or a usable one of the pool."""
        connection = super().get_new_connection(conn_params)
        while self.pool and not _is_open(connection):
            connection.close()
            self.pool.putconn(connection)  # which replaces it
            connection = super().get_new_connection(conn_params)
        connection.cursor_factory = Cursor
        return connection

    def is_usable(self) -> bool:
        return self.connection is not None and _is_open(self.connection)


def _is_open(connection: Any) -> bool:
    """Return whether the server has not closed an idle connection.

    A server that shuts down, or ends the session, sends a message and closes its end; an idle connection receives
    nothing else. If the network fails, a query would not notice it before a timeout either.
    """
    if connection.closed:
        return False
    poll = select.poll()  # unlike select(), it accepts file descriptors above 1024
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
