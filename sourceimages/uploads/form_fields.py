"""Parse the fields of an upload form, in all encodings that clients use.

`meta_user[1]` applies to the second file, `meta_user[]` to the next file without one, and `meta_user` to the first.
`url[1]` is the second file itself; uploaded files fill the positions without a URL. Values are JSON, or JSON inside a
JSON string.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rokka.core.errors import FeatureUnavailable, InvalidInput
from rokka.core.parsers import parse_json
from sourceimages import metadata
from sourceimages.errors import InvalidMetadata

FIELD = re.compile(r"(?P<field>[a-z_]+)(\[(?P<index>[0-9]{0,4})\])?(\[(?P<entry>[A-Za-z0-9_]+)\])?\Z")
OPTIMIZE_FORMATS = {"true": "png", "1": "png", "png": "png", "jpg": "jpg", "false": "", "0": "", "": ""}
BOOLEANS = {True: True, "true": True, "1": True, False: False, "false": False, "0": False, "": False, None: False}


@dataclass(slots=True)
class FileFields:
    """The fields that apply to one file."""

    user_metadata: dict[str, Any] = field(default_factory=dict)
    dynamic_metadata: dict[str, Any] = field(default_factory=dict)
    protected: bool = False
    optimize_to: str = ""
    url: str = ""  # to fetch the file from, if it was not uploaded
    label: str = ""  # name of the URL in messages


def parse_form(fields: Iterable[tuple[str, list[str]]], *, files: int) -> list[FileFields]:
    """The fields of each file, uploaded or to be fetched, in order.

    Raises InvalidInput with the name of the field.
    """
    by_index = defaultdict[int, FileFields](FileFields)
    optimize_to = ""
    for name, field_name, index, entry, text in _values(fields):
        match field_name:
            case "meta_user":
                parsed_fields = metadata.user_metadata(decode_json_field(name, text))
                by_index[index].user_metadata = metadata.overlay(by_index[index].user_metadata, parsed_fields)
            case "meta_dynamic":
                value = decode_json_field(name, text)
                by_index[index].dynamic_metadata |= metadata.dynamic_metadata({entry: value} if entry else value)
            case "meta_static":
                _refuse_automatic_texts(name, decode_json_field(name, text))
            case "options":
                by_index[index].protected = _protected(name, decode_json_field(name, text))
            case "optimize_source":
                optimize_to = _optimize_to(text)
            case "url" if text.strip():
                if by_index[index].url:
                    raise InvalidInput(f"{name}: another URL has the same index.")
                by_index[index].url, by_index[index].label = text.strip(), name[:80]
    files += sum(1 for one in by_index.values() if one.url)
    if by_index and max(by_index) >= files:
        raise InvalidInput(
            f"There are fields for file {max(by_index)} (counted from 0), but only {files} files and URLs."
        )
    for position in range(files):
        by_index[position].optimize_to = optimize_to
    return [by_index[position] for position in range(files)]


def _values(fields: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, str, int, str, str]]:
    """(name as sent, field, file index, entry, text) of all known fields."""
    following: dict[str, int] = defaultdict(int)
    for name, texts in fields:
        parsed = FIELD.match(name)
        if parsed is None:
            continue  # unknown fields are ignored, as on rokka.io
        field_name, index, entry = parsed["field"], parsed["index"], parsed["entry"] or ""
        for text in texts:
            position = int(index) if index else following[field_name]
            following[field_name] = position + 1
            yield name, field_name, position, entry, text


def decode_json_field(name: str, text: str) -> Any:
    """The JSON value of a field; some clients encode it twice."""
    value = parse_json(text, name) if text.strip() else {}
    return parse_json(value, name) if isinstance(value, str) else value


def _protected(name: str, options: Any) -> bool:
    if options == []:
        return False
    if not isinstance(options, dict):
        raise InvalidInput(f"{name}: must be a JSON object.")
    if unknown := options.keys() - {"protected", "visual_binaryhash"}:
        raise InvalidInput(
            f"{name}: unknown option {sorted(unknown)[0][:80]!r}. Options are protected, visual_binaryhash."
        )
    for option, value in options.items():
        if isinstance(value, dict | list) or value not in BOOLEANS:
            raise InvalidInput(f"{name}: {option} must be true or false.")
    return BOOLEANS[options.get("protected")]


def _optimize_to(text: str) -> str:
    value = text.strip().strip('"').lower()
    if value not in OPTIMIZE_FORMATS:
        raise InvalidInput("optimize_source: must be true, false, png or jpg.")
    return OPTIMIZE_FORMATS[value]


def _refuse_automatic_texts(name: str, value: Any) -> None:
    if value not in ({}, []):
        if not isinstance(value, dict):
            raise InvalidMetadata(f"{name}: must be a JSON object.")
        raise FeatureUnavailable(f"{name}: this server does not support automatic descriptions. Remove the field.")
