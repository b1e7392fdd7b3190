"""The fields that images are searched by: columns of their row, and fields of their metadata.

A name without `user:` is a field of user metadata, unless it is that of a column: the keys of an item in an answer name
fields, too.
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
    rf"|user:(?:(?P<grouped_type>{TYPE}):)?(?P<grouped>{PART}:{PART})"  # as other servers have; no image has one here
    rf"|(?P<kind>dynamic|static):(?P<type>{TYPE}):(?P<property>{PART}:[a-z0-9_]{{1,64}}))\Z"
)


class Kind(Enum):
    """How values of a field are compared."""

    TEXT = "text"  # whole, bytewise
    WORDS = "words"
    NUMBER = "number"
    DATETIME = "moment"
    BOOLEAN = "truth"
    LOCATION = "place"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the picture's row, or of what it points to."""

    name: str  # what the API calls it
    column: str
    kind: Kind
    only_in_trash: bool = False


@dataclass(frozen=True, slots=True)
class MetadataFieldRef:
    """A field of metadata, with the types that a filter on it may mean."""

    name: str  # without its type: user:year, dynamic:version:text
    types: tuple[str, ...]
    kind: Kind
    bare: bool = False  # it was named without `user:` and without a type
    used: bool = True  # whether the organization has ever had it; known of bare ones only


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
TEXTS = {"name_text": NAME, "any_text": ANYWHERE}
KINDS = {
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


TEXT_TYPES = ("str", "array")  # of a field that is named without a type


def fields(organization: Organization, names: Iterable[str], *, in_trash: bool = False) -> dict[str, Field]:
    """The fields that these names mean, bare ones of the type that the organization uses. Raises Invalid."""
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
    """The field that a filter names. Raises Invalid."""
    if text := TEXTS.get(name):
        return MetadataFieldRef(text, ("text",), Kind.WORDS)
    if column := COLUMNS.get(name):
        if column.only_in_trash and not in_trash:
            raise InvalidInput(f"{name}: only images in the trash have it; ask for deleted=true.")
        return column
    parsed = METADATA_PREFIXES.match(name)
    if parsed is None:
        known = ", ".join((*COLUMNS, *TEXTS))
        raise InvalidInput(
            f"{name[:80]!r} is not a valid field name: there are {known}, user:type:name, static:type:group:property, "
            f"dynamic:type:name:property, of a to z, 0 to 9 and _."
        )
    if parsed["property"]:
        type = parsed["type"]
        return MetadataFieldRef(f"{parsed['kind']}:{parsed['property']}", (type,), KINDS[type])
    type = parsed["user_type"] or parsed["grouped_type"]
    types = (type,) if type else TEXT_TYPES
    bare = not type and not parsed["user_prefix"] and not parsed["grouped"]
    return MetadataFieldRef(f"user:{parsed['user'] or parsed['grouped']}", types, KINDS[types[0]], bare)


def _of_types(bare: MetadataFieldRef, used: set[str]) -> MetadataFieldRef:
    """Texts if there are any, else the first type that is used."""
    if not used or used & set(TEXT_TYPES):
        return replace(bare, used=bool(used))
    type = next(type for type in KINDS if type in used)
    return replace(bare, types=(type,), kind=KINDS[type])
