"""Connections to PostgreSQL: a pool that the threads of a web process share, and giving them back early.

Django returns a thread's connection to the pool at the end of each request. A thread that waits for something else
before, such as another server, the storage or a render, gives it back with `release_connection`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections

WAIT_SECONDS = 5  # for a connection, while all are in use
# For which the pool tries to connect by itself. After that, each request tries it, without the growing pauses of the
# pool, which would keep the database unavailable for half a minute after it is back.
RECONNECT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class PoolState:
    """Connections of this process."""

    size: int  # at most
    in_use: int
    waiting: int  # threads that wait for a connection


def use_pool() -> None:
    """Let the threads of this process share at most DATABASE_POOL_SIZE connections. No effect with SQLite.

    Call it before the first query. Only web processes have so many threads that it matters.
    """
    database = connections.settings[DEFAULT_DB_ALIAS]
    if database["ENGINE"] == "rokka.core.postgresql":
        size = settings.DATABASE_POOL_SIZE
        pool = {"min_size": min(2, size), "max_size": size, "timeout": WAIT_SECONDS, "name": "web"}
        pool["reconnect_timeout"] = RECONNECT_SECONDS
        database["OPTIONS"] = database["OPTIONS"] | {"pool": pool} | _statement_timeout(database["OPTIONS"])
        database["CONN_MAX_AGE"] = 0
        database["CONN_HEALTH_CHECKS"] = False  # of the pool, which take a query: the backend checks without one


def _statement_timeout(options: Mapping[str, Any]) -> dict[str, str]:
    """The connection option that ends statements which have no other limit, such as those of prepared cursors.

    PgBouncer does not accept options of connections.
    """
    if settings.DATABASE_POOLER == "pgbouncer":
        return {}
    return {"options": f"{options.get('options', '')} -c statement_timeout={settings.WRITE_TIMEOUT_SECONDS}s".strip()}


def release_connection() -> None:
    """Give the thread's connection back to the pool; the next query takes one again. No effect in a transaction.

    Call it before waiting for something else than the database.
    """
    if _is_pooled() and not connection.in_atomic_block:
        connection.close()


def pool_state() -> PoolState | None:
    """The state of the pool; None in a process without one."""
    if not _is_pooled():
        return None
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    opened, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
    return PoolState(stats["pool_max"], opened - idle, stats.get("requests_waiting", 0))


def is_exhausted(error: DatabaseError) -> bool:
    """Return whether no connection of the pool was free in time."""
    if not _is_pooled():
        return False
    from psycopg_pool import PoolTimeout

    return isinstance(error.__cause__, PoolTimeout)


def _is_pooled() -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool"))
