"""Losing against somebody else at the same moment, which is mended by looking again."""

from django.db import DatabaseError, IntegrityError

DEADLOCK = "40P01"  # what PostgreSQL calls two that wait for each other; it ends one of them, of which nothing remains


def lost_race(error: DatabaseError) -> bool:
    """Whether that is what it says. A lost connection, say, is something else, and leaves open what was done."""
    return isinstance(error, IntegrityError) or getattr(error.__cause__, "sqlstate", None) == DEADLOCK
