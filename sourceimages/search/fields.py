"""The searchable fields: columns of images, and metadata fields.

A name without `user:` is a user metadata field, unless it is a column. The columns use the field names of the API.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.metadata.index_entries import ANYWHERE, NAME
from sourceimages.models import MetadataField

TYPE, PART = "str|text|int|double|date|latlon|array|array_text", "[a-z0-9_]{1,54}"
METADATA_PREFIXES = re.compile(
    rf"(?:(?P<user_prefix>user:)?(?:(?P<user_type>{TYPE}):)?(?P<user>{PART})"
    # exists on other servers; images here never have one
    rf"|user:(?:(?P<grouped_type>{TYPE}):)?(?P<grouped>{PART}:{PART})"
    rf"|(?P<kind>dynamic|static):(?P<type>{TYPE}):(?P<property>{PART}:[a-z0-9_]{{1,64}}))\Z"
)


class Kind(Enum):
    """How the values of a field are compared."""

    TEXT = "text"  # exact, bytewise
    WORDS = "words"
    NUMBER = "number"
    DATETIME = "datetime"
    BOOLEAN = "boolean"
    LOCATION = "location"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the image row or of a related row."""

    name: str  # name in the API
    column: str
    kind: Kind
    only_in_trash: bool = False


@dataclass(frozen=True, slots=True)
class MetadataFieldRef:
    """A metadata field, with the types that a filter on it can match."""

    name: str  # without the type: user:year, dynamic:version:text
    types: tuple[str, ...]
    kind: Kind
    bare: bool = False  # named without `user:` and without a type
    used: bool = True  # whether the organization has the field; only set for bare names


Field = Column | MetadataFieldRef

COLUMNS = {
    column.name: column
    for column in (
        Column("hash", "hash", Kind.TEXT),
        Column("short_hash", "short_hash", Kind.TEXT),
        Column("binaryhash", "binary_hash", Kind.TEXT),
        Column("binary_hash", "binary_hash", Kind.TEXT),
        Column("mimetype", "mimetype", Kind.TEXT),
        Column("format", "format", Kind.TEXT),
        Column("name", "name", Kind.TEXT),
        Column("size", "size", Kind.NUMBER),
        Column("width", "width", Kind.NUMBER),
        Column("height", "height", Kind.NUMBER),
        Column("created", "created", Kind.DATETIME),
        Column("protected", "protected", Kind.BOOLEAN),
        Column("locked", "locked", Kind.BOOLEAN),
        Column("opaque", "file__opaque", Kind.BOOLEAN),
        Column("animated", "file__animated", Kind.BOOLEAN),
        Column("deletedDate", "tombstone__deleted_at", Kind.DATETIME, only_in_trash=True),
        Column("deleted_date", "tombstone__deleted_at", Kind.DATETIME, only_in_trash=True),
    )
}
WORD_FIELDS = {"name_text": NAME, "any_text": ANYWHERE}
KIND_BY_TYPE = {
    "str": Kind.TEXT,
    "array": Kind.TEXT,
    "text": Kind.WORDS,
    "array_text": Kind.WORDS,
    "int": Kind.NUMBER,
    "double": Kind.NUMBER,
    "date": Kind.DATETIME,
    "latlon": Kind.LOCATION,
}
INDEXED_TYPES = {"latlon": ("lat", "lon")}  # types in the index, where they differ


TEXT_TYPES = ("str", "array")  # of a field named without a type


def fields(organization: Organization, names: Iterable[str], *, in_trash: bool = False) -> dict[str, Field]:
    """The fields with these names; bare names get the type that the organization uses. Raises InvalidInput."""
    found = {name: field(name, in_trash=in_trash) for name in names}
    bare = {one.name for one in found.values() if isinstance(one, MetadataFieldRef) and one.bare}
    if bare:
        used: dict[str, set[str]] = {}
        rows = MetadataField.objects.filter(organization=organization, name__in=bare)
        for name, type in rows.values_list("name", "type"):
            used.setdefault(name, set()).add("latlon" if type in INDEXED_TYPES["latlon"] else type)
        for name, one in found.items():
            if isinstance(one, MetadataFieldRef) and one.bare:
                found[name] = _of_types(one, used.get(one.name, set()))
    return found


def field(name: str, *, in_trash: bool = False) -> Field:
    """The field that a filter name refers to. Raises InvalidInput."""
    if text := WORD_FIELDS.get(name):
        return MetadataFieldRef(text, ("text",), Kind.WORDS)
    if column := COLUMNS.get(name):
        if column.only_in_trash and not in_trash:
            raise InvalidInput(f"{name}: only images in the trash have this field. Add deleted=true.")
        return column
    parsed = METADATA_PREFIXES.match(name)
    if parsed is None:
        known = ", ".join((*COLUMNS, *WORD_FIELDS))
        raise InvalidInput(
            f"Invalid field name {name[:80]!r}. Use {known}, user:type:name, static:type:group:property or "
            f"dynamic:type:name:property, with names of a–z, 0–9 and _."
        )
    if parsed["property"]:
        type = parsed["type"]
        return MetadataFieldRef(f"{parsed['kind']}:{parsed['property']}", (type,), KIND_BY_TYPE[type])
    type = parsed["user_type"] or parsed["grouped_type"]
    types = (type,) if type else TEXT_TYPES
    bare = not type and not parsed["user_prefix"] and not parsed["grouped"]
    return MetadataFieldRef(f"user:{parsed['user'] or parsed['grouped']}", types, KIND_BY_TYPE[types[0]], bare)


def _of_types(bare: MetadataFieldRef, used: set[str]) -> MetadataFieldRef:
    """The field with text types if the organization uses one, or else with the first type in use."""
    if not used or used & set(TEXT_TYPES):
        return replace(bare, used=bool(used))
    type = next(type for type in KIND_BY_TYPE if type in used)
    return replace(bare, types=(type,), kind=KIND_BY_TYPE[type])
