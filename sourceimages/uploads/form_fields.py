"""What the fields of an upload form say about its files, in every encoding that clients use.

A field `meta_user[1]` belongs to the second file, `meta_user[]` to the next one that has none yet, `meta_user` to the
first. `url[1]` is the second file itself; the files that were sent take the places that no URL has. Values are JSON, or
JSON inside a JSON string.
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
    """What a form says about one file."""

    user_metadata: dict[str, Any] = field(default_factory=dict)
    dynamic_metadata: dict[str, Any] = field(default_factory=dict)
    protected: bool = False
    optimize_to: str = ""
    url: str = ""  # where the file is, if it was not sent
    label: str = ""  # what messages call the URL


def parse_form(fields: Iterable[tuple[str, list[str]]], *, files: int) -> list[FileFields]:
    """What the form says about each of its files, sent or to be fetched, in their order.

    Raises Invalid naming the field.
    """
    about = defaultdict[int, FileFields](FileFields)
    optimize_to = ""
    for name, field_name, index, entry, text in _values(fields):
        match field_name:
            case "meta_user":
                fields_said = metadata.user_metadata(decode_json_field(name, text))
                about[index].user_metadata = metadata.overlay(about[index].user_metadata, fields_said)
            case "meta_dynamic":
                value = decode_json_field(name, text)
                about[index].dynamic_metadata |= metadata.dynamic_metadata({entry: value} if entry else value)
            case "meta_static":
                _refuse_automatic_texts(name, decode_json_field(name, text))
            case "options":
                about[index].protected = _protected(name, decode_json_field(name, text))
            case "optimize_source":
                optimize_to = _optimize_to(text)
            case "url" if text.strip():
                if about[index].url:
                    raise InvalidInput(f"{name}: there is another URL with this index.")
                about[index].url, about[index].label = text.strip(), name[:80]
    files += sum(1 for one in about.values() if one.url)
    if about and max(about) >= files:
        raise InvalidInput(
            f"There are fields for file {max(about)} (counting from 0), but only {files} files and URLs."
        )
    for position in range(files):
        about[position].optimize_to = optimize_to
    return [about[position] for position in range(files)]


def _values(fields: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, str, int, str, str]]:
    """(name as sent, field, index of the file, entry, text) of all fields that mean something here."""
    following: dict[str, int] = defaultdict(int)
    for name, texts in fields:
        parsed = FIELD.match(name)
        if parsed is None:
            continue  # clients send fields that mean nothing, and rokka.io ignores them
        field_name, index, entry = parsed["field"], parsed["index"], parsed["entry"] or ""
        for text in texts:
            position = int(index) if index else following[field_name]
            following[field_name] = position + 1
            yield name, field_name, position, entry, text


def decode_json_field(name: str, text: str) -> Any:
    """The JSON value of a field; some clients encode twice."""
    value = parse_json(text, name) if text.strip() else {}
    return parse_json(value, name) if isinstance(value, str) else value


def _protected(name: str, options: Any) -> bool:
    if options == []:
        return False
    if not isinstance(options, dict):
        raise InvalidInput(f"{name}: options must be a JSON object.")
    if unknown := options.keys() - {"protected", "visual_binaryhash"}:
        raise InvalidInput(
            f"{name}: {sorted(unknown)[0][:80]!r} is not an option. Options are protected, visual_binaryhash."
        )
    for option, value in options.items():
        if isinstance(value, dict | list) or value not in BOOLEANS:
            raise InvalidInput(f"{name}: {option} must be true or false.")
    return BOOLEANS[options.get("protected")]


def _optimize_to(text: str) -> str:
    wish = text.strip().strip('"').lower()
    if wish not in OPTIMIZE_FORMATS:
        raise InvalidInput("optimize_source must be true, false, png or jpg.")
    return OPTIMIZE_FORMATS[wish]


def _refuse_automatic_texts(name: str, value: Any) -> None:
    if value not in ({}, []):
        if not isinstance(value, dict):
            raise InvalidMetadata(f"{name}: static metadata must be a JSON object.")
        raise FeatureUnavailable(f"{name}: this server has nothing that describes pictures. Leave the field out.")
