"""User metadata: free fields, typed by a key prefix (`int:year`). Keys without a prefix have the type `str`."""

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
    """The fields in stored form; None marks a field to remove.

    Raises InvalidMetadata with the name of the field.
    """
    if fields == []:  # PHP encodes an empty object as an array
        return {}
    if not isinstance(fields, dict):
        raise InvalidMetadata("User metadata must be a JSON object.")
    if len(fields) > MAX_FIELDS:
        raise InvalidMetadata(f"User metadata has {len(fields)} fields; the limit is {MAX_FIELDS}.")
    cleaned: dict[str, Any] = {}
    names: set[str] = set()
    for key, value in fields.items():
        kind, _, name = key.rpartition(":")
        kind = kind or "str"
        if kind not in USER_TYPES:
            raise InvalidMetadata(f"User metadata {key[:80]!r}: invalid type. Types are {', '.join(USER_TYPES)}.")
        if not FIELD_NAME.match(name):
            raise InvalidMetadata(f"User metadata {key[:80]!r}: invalid name. Use 1–54 of a–z, 0–9 and _.")
        if name in names:
            raise InvalidMetadata(f"User metadata {name!r}: the field occurs twice.")
        names.add(name)
        try:
            cleaned[name if kind == "str" else key] = None if value is None else USER_TYPES[kind](value)
        except ValueError as error:
            raise InvalidMetadata(f"User metadata {key[:80]!r}: {error}") from error
    return cleaned


def overlay(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Both merged; a field of `later` replaces one with the same name, whatever its type."""
    mentioned = {field_name(key) for key in later}
    return {key: value for key, value in earlier.items() if field_name(key) not in mentioned} | dict(later)


def apply_changes(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The stored fields with `changes` applied; None removes a field.

    Raises InvalidMetadata if there are too many fields.
    """
    result = {key: value for key, value in overlay(stored, changes).items() if value is not None}
    if len(result) > MAX_FIELDS:
        raise InvalidMetadata(f"The image would have {len(result)} user metadata fields; the limit is {MAX_FIELDS}.")
    return result


def field_name(key: str) -> str:
    """The field name without its type."""
    return key.rpartition(":")[2]


def parse_form_value(kind: str, text: str) -> Any:
    """The value of a field of this type as an HTML form sends it; arrays have one element per line."""
    if kind.startswith("array"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    return text.replace("\r\n", "\n")
