"""Single metadata values. Each function returns the stored form, or raises ValueError with a message for users."""

import json
import math
import re
import unicodedata
from datetime import UTC
from typing import Any

from rokka.core.clock import from_iso

INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z", re.ASCII)
MAX_STRING = 10_000
MAX_ELEMENTS = 1_000
MAX_INTEGER = 2**63 - 1


def nfc(text: str) -> str:
    """The text in Unicode normal form C, in which strings are stored and compared."""
    return unicodedata.normalize("NFC", text)


def normalize_unicode(document: Any) -> Any:
    """The value with all strings in normal form C. Files, and rows of earlier versions, may have other forms."""
    if not document:
        return document
    match document:
        case str():
            return nfc(document)
        case list():
            return [normalize_unicode(one) for one in document]
        case dict():
            return {nfc(key): normalize_unicode(one) for key, one in document.items()}
    return document


def string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string.")
    found = nfc(value)
    if len(found) > MAX_STRING:
        raise ValueError(f"the value has {len(found)} characters; the limit is {MAX_STRING}.")
    if "\0" in found:
        raise ValueError("must not contain NUL characters.")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode.") from error
    return found


def integer(value: Any) -> int:
    if isinstance(value, str) and INTEGER.match(value.strip()):
        value = int(value)  # HTML forms send strings
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be an integer.")
    if abs(value) > MAX_INTEGER:
        raise ValueError("must fit into 64 bits.")
    return value


def double(value: Any) -> float | int:
    if isinstance(value, str) and NUMBER.match(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number.")
    if isinstance(value, int):
        return integer(value)
    if not math.isfinite(value):
        raise ValueError("must be a finite number.")
    return value


def strings(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("must be an array of strings.")
    if len(value) > MAX_ELEMENTS:
        raise ValueError(f"the array has {len(value)} elements; the limit is {MAX_ELEMENTS}.")
    return [text(element) for element in value]


def text(value: Any) -> str:
    """A string. Some clients send numbers and booleans instead; they are stored as in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number.")
    return string(json.dumps(value) if isinstance(value, int | float) else value)


def date(value: Any) -> str:
    """`YYYY-MM-DDThh:mm:ssZ` in UTC, without fractions of a second."""
    try:
        parsed = from_iso(string(value))
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a date like 2024-03-05T09:30:00Z.") from error
    return parsed.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def latlon(value: Any) -> str:
    parts = string(value).split(",")
    if len(parts) != 2 or not all(NUMBER.match(part.strip()) for part in parts):
        raise ValueError('must be a latitude and longitude like "47.38,8.52".')
    latitude, longitude = map(float, parts)
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError("latitude must be from -90 to 90 and longitude from -180 to 180.")
    return ",".join(part.strip() for part in parts)
