"""What a check reports."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rokka.core.errors import DomainError
from rokka.core.logs import redact

MAX_ERROR_LENGTH = 300  # characters


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"  # what the check needs is not available


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name. It yields findings; an exception counts as an error, with its message.

    `needs` is the name of an earlier check: if that finds nothing but errors, this one is skipped.
    """

    name: str
    function: Callable[[], Iterator[Finding]]
    needs: str = ""


def ok(message: str) -> Finding:
    return Finding(Level.OK, message)


def warning(message: str) -> Finding:
    return Finding(Level.WARNING, message)


def error(message: str) -> Finding:
    return Finding(Level.ERROR, message)


def describe(problem: BaseException) -> str:
    """An exception in one line, without credentials; of a DomainError, its message and its cause."""
    text = " ".join(redact(str(problem)).split())
    if not isinstance(problem, DomainError):
        text = f"{type(problem).__name__}: {text}" if text else type(problem).__name__
    elif problem.__cause__ is not None:
        text += f" ({describe(problem.__cause__)})"
    return text if len(text) <= MAX_ERROR_LENGTH else text[:MAX_ERROR_LENGTH] + "…"
