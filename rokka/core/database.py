"""Transactions that meet others on the same rows: which errors of the database mean that, and running them again."""

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
RETRY_PAUSE_SECONDS = (
    0.02  # seconds; the longest pause before the second attempt, twice that before the third, and so on
)
TRY_AGAIN = {"40P01", "40001"}  # deadlock, serialization failure: PostgreSQL has undone the whole transaction
FOREIGN_KEY_VIOLATION = "23503"

P = ParamSpec("P")
R = TypeVar("R")
Reference = models.ForeignKey

log = structlog.get_logger()


class StaleRead(Exception):
    """Another transaction changed what this one had looked at before: nothing is done, look again."""


def retry_on_conflict(
    *constraints: str, references: Sequence[Reference] = (), attempts: int = MAX_ATTEMPTS
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run the function again when another transaction was faster. Raises Conflict when it always was.

    That is so on a violation of one of these constraints or foreign keys, on a deadlock, and when the function raises
    Overtaken. The function opens its own transaction, so that an attempt that fails leaves nothing behind. Any other
    IntegrityError is a bug, and is raised as it is.

    Inside another transaction only the last savepoint is undone. What needs more than that, a deadlock, is left to
    whoever began the transaction.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
            for number in range(1, attempts + 1):
                try:
                    return function(*args, **kwargs)
                except StaleRead:
                    reason = "overtaken"
                except DatabaseError as error:
                    reason = conflict_in(error, constraints, references)
                    if not reason:
                        raise
                log.info("database.conflict", function=function.__qualname__, reason=reason, attempt=number)
                if number < attempts and not connection.in_atomic_block:
                    time.sleep(random.uniform(0, RETRY_PAUSE_SECONDS * number))  # noqa: S311 (so that they do not meet again)
            raise Conflict("The same images are being changed by other requests. Try again.")

        return attempt

    return decorate


@contextmanager
def translate_conflict(refusal: DomainError, constraint: str) -> Iterator[None]:
    """Raise the refusal where what is done within violates the constraint; the transaction around it can go on."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if constraint not in violated_constraint(error):
            raise
        raise refusal from error


def conflict_in(error: DatabaseError, constraints: Sequence[str], references: Sequence[Reference]) -> str:
    """What the error says about a conflict of transactions, in a word for the log; "" if it is about something else."""
    if _sqlstate(error) in TRY_AGAIN:
        return "" if connection.in_atomic_block else "deadlock"
    if not isinstance(error, IntegrityError):
        return ""
    if reference := _violated_reference(error, references):
        return reference
    return next(iter(violated_constraint(error).intersection(constraints)), "")


def violated_constraint(error: IntegrityError) -> frozenset[str]:
    """The names of the unique constraints that the database means; several only where they have the same columns."""
    if name := _diagnosis(error).get("constraint_name"):
        return frozenset({name})
    text = str(error)
    if found := re.match(r"UNIQUE constraint failed: index '(\w+)'", text):
        return frozenset({found[1]})
    if found := re.match(r"UNIQUE constraint failed: (.+)", text):  # SQLite names columns, not the constraint
        return _unique_constraints().get(frozenset(found[1].split(", ")), frozenset())
    return frozenset()


@functools.cache
def _unique_constraints() -> dict[frozenset[str], frozenset[str]]:
    """Names of the unique constraints of all models, by their columns as SQLite writes them."""
    found: dict[frozenset[str], frozenset[str]] = {}
    for model in apps.get_models():
        for constraint in model._meta.constraints:
            if isinstance(constraint, models.UniqueConstraint) and constraint.fields:
                names = (model._meta.get_field(field).column for field in constraint.fields)  # type: ignore[union-attr]
                columns = frozenset(f"{model._meta.db_table}.{name}" for name in names)
                found[columns] = found.get(columns, frozenset()) | {constraint.name}
    return found


def _violated_reference(error: IntegrityError, references: Sequence[Reference]) -> str:
    """Which of the foreign keys the error is about, as `table.column`."""
    names = {f"{reference.model._meta.db_table}.{reference.column}" for reference in references}
    if str(error) == "FOREIGN KEY constraint failed":  # SQLite does not say which: one that can be meant is meant
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
    """What PostgreSQL says beside the message; empty for SQLite."""
    diagnosis = getattr(error.__cause__, "diag", None)
    names = "table_name", "constraint_name"
    return {name: getattr(diagnosis, name) or "" for name in names} if diagnosis else {}
