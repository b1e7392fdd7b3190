"""Conflicts between concurrent transactions: detecting them in database errors, and retrying."""

import functools
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import structlog
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from rokka.core.errors import Conflict, DomainError

MAX_ATTEMPTS = 5
MAX_RETRY_PAUSE_SECONDS = 0.02  # before the second attempt, twice that before the third, and so on
RETRYABLE = {"40P01", "40001"}  # deadlock, serialization failure: PostgreSQL has rolled back the transaction
FOREIGN_KEY_VIOLATION = "23503"

P = ParamSpec("P")
R = TypeVar("R")
Reference = models.ForeignKey

log = structlog.get_logger()


class StaleRead(Exception):
    """Another transaction changed data that this one had read before. Nothing was changed; read again."""


def retry_on_conflict(
    *constraints: str, references: Sequence[Reference] = (), attempts: int = MAX_ATTEMPTS
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Retry the function on conflicts with other transactions. Raises Conflict after the last attempt.

    Conflicts are violations of one of these constraints or foreign keys, deadlocks, and StaleRead. The function must
    open its own transaction, so that a failed attempt is rolled back. Any other IntegrityError is a bug and is raised
    unchanged.

    Inside another transaction, only the last savepoint is rolled back, and deadlocks are raised: the outer transaction
    has to be retried.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
            for number in range(1, attempts + 1):
                try:
                    return function(*args, **kwargs)
                except StaleRead:
                    reason = "stale_read"
                except DatabaseError as error:
                    reason = conflict_in(error, constraints, references)
                    if not reason:
                        raise
                log.info("database.conflict", function=function.__qualname__, reason=reason, attempt=number)
                if number < attempts and not connection.in_atomic_block:
                    time.sleep(random.uniform(0, MAX_RETRY_PAUSE_SECONDS * number))  # noqa: S311 (not security-relevant)
            raise Conflict("The same images are being changed by other requests. Try again.")

        return attempt

    return decorate


@contextmanager
def translate_conflict(conflict: DomainError, constraint: str) -> Iterator[None]:
    """Raise `conflict` if the block violates the constraint. The surrounding transaction remains usable."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if constraint not in violated_constraint(error):
            raise
        raise conflict from error


def conflict_in(error: DatabaseError, constraints: Sequence[str], references: Sequence[Reference]) -> str:
    """Return the kind of conflict between transactions, for the log, or "" if the error is about something else."""
    if _sqlstate(error) in RETRYABLE:
        return "" if connection.in_atomic_block else "deadlock"
    if not isinstance(error, IntegrityError):
        return ""
    if reference := _violated_reference(error, references):
        return reference
    return next(iter(violated_constraint(error).intersection(constraints)), "")


def violated_constraint(error: IntegrityError) -> frozenset[str]:
    """Return the name of the violated unique constraint; several if constraints have the same columns."""
    if name := _diagnosis(error).get("constraint_name"):
        return frozenset({name})
    text = str(error)
    if match := re.match(r"UNIQUE constraint failed: index '(\w+)'", text):
        return frozenset({match[1]})
    if match := re.match(r"UNIQUE constraint failed: (.+)", text):  # SQLite names columns, not the constraint
        return _unique_constraints().get(frozenset(match[1].split(", ")), frozenset())
    return frozenset()


@functools.cache
def _unique_constraints() -> dict[frozenset[str], frozenset[str]]:
    """Map the columns of all unique constraints, as SQLite names them, to the names of the constraints."""
    constraints: dict[frozenset[str], frozenset[str]] = {}
    for model in apps.get_models():
        for constraint in model._meta.constraints:
            if isinstance(constraint, models.UniqueConstraint) and constraint.fields:
                names = (model._meta.get_field(field).column for field in constraint.fields)  # type: ignore[union-attr]
                columns = frozenset(f"{model._meta.db_table}.{name}" for name in names)
                constraints[columns] = constraints.get(columns, frozenset()) | {constraint.name}
    return constraints


def _violated_reference(error: IntegrityError, references: Sequence[Reference]) -> str:
    """Return which of the foreign keys is violated, as `table.column`, or ""."""
    names = {f"{reference.model._meta.db_table}.{reference.column}" for reference in references}
    if str(error) == "FOREIGN KEY constraint failed":  # SQLite does not say which: assume one of these
        return min(names, default="")
    if _sqlstate(error) != FOREIGN_KEY_VIOLATION:
        return ""
    diagnosis = _diagnosis(error)
    with connection.cursor() as cursor:
        known = connection.introspection.get_constraints(cursor, diagnosis["table_name"])
    (column,) = known[diagnosis["constraint_name"]]["columns"]
    name = f"{diagnosis['table_name']}.{column}"
    return name if name in names else ""


def _sqlstate(error: DatabaseError) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def _diagnosis(error: DatabaseError) -> dict[str, str]:
    """Return the diagnostics of PostgreSQL; empty for SQLite."""
    diagnosis = getattr(error.__cause__, "diag", None)
    names = "table_name", "constraint_name"
    return {name: getattr(diagnosis, name) or "" for name in names} if diagnosis else {}
