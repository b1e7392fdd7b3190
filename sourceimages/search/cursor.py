"""Cursor paging: a cursor encodes the position after an image, and stays valid if images before it are deleted.

It holds the sort order and the values of the last image in that order; for an empty list, only the sort order.
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
    """The cursor after an image with these sort values."""
    return cursors.encode([order_name(order), *(_to_json(value) for value in values)])


def decode(text: str, order: Order) -> list[Any]:
    """The sort values in a cursor. Raises InvalidInput if it is invalid or belongs to another sort order."""
    try:
        name, *values = cursors.decode(text)
        if not isinstance(name, str):
            raise ValueError("no sort order")
        if name != order_name(order):
            raise InvalidInput("offset: the cursor belongs to another sort order. Use it with the same `sort`.")
        if values and len(values) != len(order):
            raise ValueError("wrong number of values")
        values = [_from_json(key, value) for key, value in zip(order, values, strict=False)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("offset: must be an integer or a cursor that this server returned.") from error
    return values


def order_name(order: Order) -> str:
    return ",".join(key.label for key in order)


def values_of(image: SourceImage, order: Order) -> list[Any]:
    return [_value(image, key.column) for key in order]


def after(order: Order, values: Sequence[Any]) -> Q:
    """The condition for rows after these values. Each level is a range with a nested condition: a bare OR is slow."""
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
    """The value in the type of its column; forged cursors must not pass other types to the database."""
    if key.kind is datetime:
        return cursors.parse_datetime(value)
    if key.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not key.kind:
        raise ValueError(f"invalid value of {key.column}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("number out of range")
    if type(value) is int and not 0 <= value < 2**63:
        raise ValueError("number out of range")
    if isinstance(value, str) and "\0" in value + value.encode().decode():  # encode() refuses lone surrogates
        raise ValueError("invalid text")
    return value
