"""User metadata: free fields, typed by a key prefix (`int:year`). `str` is the type of a key without one."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sourceimages.errors import InvalidMetadata
from sourceimages.metadata.values import date, double, integer, latlon, strings, text

FIELD_NAME = re.compile(r"[a-z0-9_]{1,54}\Z")
MAX_FIELDS = 1_000

USER_TYPES: dict[str, Callable[[Any], Any]] = {
    "str": text,
    "text": text,
    "int": integer,
    "double": double,
    "date": date,
    "latlon": latlon,
    "array": strings,
    "array_text": strings,
}


def user_metadata(fields: Any) -> dict[str, Any]:
    """The fields in stored form; a value of None asks for the field to be removed.

    Raises InvalidMetadata naming the field.
    """
    if fields == []:  # an empty array of PHP
        return {}
    if not isinstance(fields, dict):
        raise InvalidMetadata("User metadata must be a JSON object.")
    if len(fields) > MAX_FIELDS:
        raise InvalidMetadata(f"{len(fields)} fields of user metadata; the limit is {MAX_FIELDS}.")
    cleaned: dict[str, Any] = {}
    names: set[str] = set()
    for key, value in fields.items():
        kind, _, name = key.rpartition(":")
        kind = kind or "str"
        if kind not in USER_TYPES:
            raise InvalidMetadata(f"User metadata {key[:80]!r}: the type must be one of {', '.join(USER_TYPES)}.")
        if not FIELD_NAME.match(name):
            raise InvalidMetadata(f"User metadata {key[:80]!r}: the name must be 1 to 54 of a-z, 0-9 and _.")
        if name in names:
            raise InvalidMetadata(f"User metadata {name!r} is given twice.")
        names.add(name)
        try:
            cleaned[name if kind == "str" else key] = None if value is None else USER_TYPES[kind](value)
        except ValueError as error:
            raise InvalidMetadata(f"User metadata {key[:80]!r}: {error}") from error
    return cleaned


def overlay(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where a field of `later` replaces one of the same name, whatever its type."""
    mentioned = {field_name(key) for key in later}
    return {key: value for key, value in earlier.items() if field_name(key) not in mentioned} | dict(later)


def apply_changes(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored with the mentioned fields set or, if None, removed. InvalidMetadata if they become too many."""
    result = {key: value for key, value in overlay(stored, changes).items() if value is not None}
    if len(result) > MAX_FIELDS:
        raise InvalidMetadata(
            f"The picture would have {len(result)} fields of user metadata; the limit is {MAX_FIELDS}."
        )
    return result


def field_name(key: str) -> str:
    """The name of a field without its type."""
    return key.rpartition(":")[2]


def parse_form_value(kind: str, text: str) -> Any:
    """The value of a field of this type as an HTML form sends it; arrays have one element per line."""
    if kind.startswith("array"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    return text.replace("\r\n", "\n")
