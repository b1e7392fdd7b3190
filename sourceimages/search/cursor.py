"""Paging by position: a cursor says behind which picture to read on, and survives deletions before it.

A cursor is "c" and base64url of a JSON list: the order it belongs to, then the values of the last picture in that
order, or nothing behind the order for a list that was empty. The "c" keeps it from ever looking like a number.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q

from rokka.errors import Invalid
from sourceimages.models import SourceImage
from sourceimages.search.sort import Key, Order

PREFIX = "c"
MAX_LENGTH = 8000


def encode(order: Order, values: Sequence[Any] = ()) -> str:
    """The cursor for reading on behind a picture with these values in the columns of the order."""
    document = [order_name(order), *(_to_json(value) for value in values)]
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, order: Order) -> list[Any]:
    """The values in a cursor. Raises Invalid if it is damaged or belongs to another order."""
    try:
        if not cursor.startswith(PREFIX) or len(cursor) > MAX_LENGTH:
            raise ValueError("not a cursor")
        encoded = cursor[len(PREFIX) :].encode("ascii")
        document = json.loads(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
        name, *values = document
        if not isinstance(name, str):
            raise ValueError("no order")
        if name != order_name(order):
            raise Invalid("offset: this cursor belongs to a list in another order; use it with the same sort.")
        if values and len(values) != len(order):
            raise ValueError("not as many values as columns")
        values = [_from_json(key, value) for key, value in zip(order, values, strict=False)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid("offset: this is neither a number nor a cursor of this server.") from error
    return values


def order_name(order: Order) -> str:
    return ",".join(map(str, order))


def values_of(image: SourceImage, order: Order) -> list[Any]:
    return [_value(image, key.column) for key in order]


def behind(order: Order, values: Sequence[Any]) -> Q:
    """The condition for coming after these values. Each level is a range with the rest inside, never a bare OR."""
    (key, *others), (value, *rest) = order, values
    strictly = "lt" if key.descending else "gt"
    if not others:
        return Q(**{f"{key.column}__{strictly}": value})
    further = Q(**{f"{key.column}__{strictly}": value}) | behind(tuple(others), rest)
    return Q(**{f"{key.column}__{strictly}e": value}) & further


def _value(image: Any, column: str) -> Any:
    for part in column.split("__"):
        image = getattr(image, part)
    return image


def _to_json(value: Any) -> Any:
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _from_json(key: Key, value: Any) -> Any:
    """The value as its column compares it; a forged one must not reach the database as another type."""
    kind = KINDS.get(key.column, str)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment.astimezone(UTC)
    if type(value) is not kind:
        raise ValueError(f"not a value of {key.column}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise ValueError("no number of the database")
    if isinstance(value, str) and "\0" in value + value.encode().decode():  # a lone surrogate is no text either
        raise ValueError("no text of the database")
    return value


KINDS: dict[str, type] = {
    "id": int,
    "size": int,
    "width": int,
    "height": int,
    "protected": bool,
    "locked": bool,
    "created": datetime,
    "tombstone__deleted_at": datetime,
}
