"""The search index entries of an image: field names, types and values of its metadata."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sourceimages.metadata.dates import static_date
from sourceimages.metadata.stemming import neighbors, tokens
from sourceimages.metadata.values import nfc

MAX_BYTES = 512  # maximum length of an indexed string in bytes
STRING, TOKEN, NUMBER = "string", "token", "number"
NAME = "name"  # field with the words of the image name
ANYWHERE = "anywhere"  # field with the words of the name and of all texts in user and static metadata
NOT_SEARCHED = {"color", "optimize"}  # groups of static metadata that are not searchable
WITHOUT_WORDS = NOT_SEARCHED | {"damaged"}  # describes the file, not the image content
TEXTS = {"", "str", "text", "array", "array_text"}  # types of user metadata; keys omit str
WITHOUT_LETTERS = re.compile(r"[\W\d_]*\Z")

Value = str | float


class Entry(NamedTuple):
    name: str
    type: str
    kind: str  # STRING, TOKEN or NUMBER: the table of the value
    value: Value


def build_entries(
    name: str,
    user: Mapping[str, Any],
    dynamic: Mapping[str, Mapping[str, Any]],
    static: Mapping[str, Mapping[str, Any]],
    language: str,
) -> set[Entry]:
    """All index entries of an image with this name and metadata, in stored form.

    Strings are normalized to Unicode form C: files, and rows of earlier versions, may have other forms.
    """
    found = {Entry(NAME, "text", TOKEN, word) for word in tokens(name, language)}
    for text in (name, *_texts(user, static)):
        found |= {Entry(ANYWHERE, "text", TOKEN, word) for word in tokens(text, language)}
        found |= {Entry(ANYWHERE, "text", TOKEN, pair) for pair in neighbors(text, language)}
    for key, value in user.items():
        type, _, field = key.rpartition(":")
        found |= set(_typed(f"user:{field}", type or "str", value, language))
    for prefix, groups in (("dynamic", dynamic), ("static", static)):
        for group, properties in groups.items():
            if group not in NOT_SEARCHED:
                for field, value in properties.items():
                    if type := _type_of(value):
                        found |= set(_typed(f"{prefix}:{group}:{field}", type, value, language))
    return found | set(_dates(static))


def _dates(static: Mapping[str, Mapping[str, Any]]) -> Iterator[Entry]:
    """Dates in static metadata are indexed as numbers, in addition to their text."""
    for group, properties in static.items():
        for field, value in properties.items() if group not in NOT_SEARCHED else ():
            if isinstance(value, str) and (date := static_date(group, field, value, properties)):
                yield Entry(f"static:{group}:{field}", "date", NUMBER, date.timestamp())


def _texts(user: Mapping[str, Any], static: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Strings and tags. Excludes numbers, dates and locations, and static metadata without letters."""
    for key, value in user.items():
        if key.rpartition(":")[0] in TEXTS:
            yield from [value] if isinstance(value, str) else value
    for group, properties in static.items():
        for value in properties.values() if group not in WITHOUT_WORDS else ():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and not WITHOUT_LETTERS.match(text):
                    yield text


def _type_of(value: Any) -> str:
    """The index type of an untyped value; empty if it is not indexed."""
    match value:
        case bool():
            return "str"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "str"
        case list() if all(isinstance(item, str) for item in value):
            return "array"
    return ""


def _typed(name: str, type: str, value: Any, language: str) -> Iterator[Entry]:
    match type:
        case "str":
            yield Entry(
                name, type, STRING, truncate_bytes(nfc(str(value).lower() if isinstance(value, bool) else value))
            )
        case "array":
            yield from (Entry(name, type, STRING, truncate_bytes(nfc(item))) for item in value)
        case "text":
            yield from (Entry(name, type, TOKEN, word) for word in tokens(value, language))
        case "array_text":
            yield from (Entry(name, type, TOKEN, word) for item in value for word in tokens(item, language))
        case "int" | "double":
            yield Entry(name, type, NUMBER, float(value))
        case "date":
            yield Entry(name, type, NUMBER, timestamp(value))
        case "latlon":
            latitude, longitude = map(float, value.split(","))
            yield Entry(name, "lat", NUMBER, latitude)
            yield Entry(name, "lon", NUMBER, longitude)


def truncate_bytes(text: str) -> str:
    """The string cut to the indexed length, at a character boundary."""
    return text.encode()[:MAX_BYTES].decode(errors="ignore") if len(text) > MAX_BYTES // 4 else text


def timestamp(date: str) -> float:
    return datetime.fromisoformat(date).timestamp()
