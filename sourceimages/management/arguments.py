"""Values of arguments of commands."""

from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from sourceimages.search.periods import period

MAX_INTEGER = 10_000_000_000


def positive_integer(text: str) -> int:
    """The `type` of an argument. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_INTEGER)) and 1 <= int(text) <= MAX_INTEGER):
        raise ArgumentTypeError(f"must be an integer from 1 to {MAX_INTEGER}, not {text[:40]!r}.")
    return int(text)


def parse_time(options: Mapping[str, Any], name: str) -> datetime | None:
    """The start of the time in this option, such as "since", or None if it is not given. Raises CommandError."""
    text = options[name]
    if text is None:
        return None
    try:
        return period(text).start
    except ValueError as error:
        raise CommandError(f"--{name}={text!r} is invalid: {error}") from error
