"""Paging by position: a cursor says behind which picture to read on, and survives deletions before it.

A cursor holds the order it belongs to, then the values of the last picture in that order, or nothing behind the order
for a list that was empty.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q

from rokka.core import cursors
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImage
from sourceimages.search.sort import Key, Order


def encode(order: Order, values: Sequence[Any] = ()) -> str:
    """The cursor for reading on behind a picture with these values in the columns of the order."""
    return cursors.encode([order_name(order), *(_to_json(value) for value in values)])


def decode(text: str, order: Order) -> list[Any]:
    """The values in a cursor. Raises Invalid if it is damaged or belongs to another order."""
    try:
        name, *values = cursors.decode(text)
        if not isinstance(name, str):
            raise ValueError("no order")
        if name != order_name(order):
            raise InvalidInput("offset: this cursor belongs to a list in another order; use it with the same sort.")
        if values and len(values) != len(order):
            raise ValueError("not as many values as columns")
        values = [_from_json(key, value) for key, value in zip(order, values, strict=False)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("offset: this is neither a number nor a cursor of this server.") from error
    return values


def order_name(order: Order) -> str:
    return ",".join(key.label for key in order)


def values_of(image: SourceImage, order: Order) -> list[Any]:
    return [_value(image, key.column) for key in order]


def after(order: Order, values: Sequence[Any]) -> Q:
    """The condition for coming after these values. Each level is a range with the rest inside, never a bare OR."""
    (key, *others), (value, *rest) = order, values
    strictly = "lt" if key.descending else "gt"
    if not others:
        return Q(**{f"{key.column}__{strictly}": value})
    further = Q(**{f"{key.column}__{strictly}": value}) | after(tuple(others), rest)
    return Q(**{f"{key.column}__{strictly}e": value}) & further


def _value(image: Any, column: str) -> Any:
    for part in column.split("__"):
        image = getattr(image, part)
    return image


def _to_json(value: Any) -> Any:
    return cursors.format_datetime(value) if isinstance(value, datetime) else value


def _from_json(key: Key, value: Any) -> Any:
    """The value as its column compares it; a forged one must not reach the database as another type."""
    if key.kind is datetime:
        return cursors.parse_datetime(value)
    if key.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not key.kind:
        raise ValueError(f"not a value of {key.column}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("no number of the database")
    if type(value) is int and not 0 <= value < 2**63:
        raise ValueError("no number of the database")
    if isinstance(value, str) and "\0" in value + value.encode().decode():  # a lone surrogate is no text either
        raise ValueError("no text of the database")
    return value
