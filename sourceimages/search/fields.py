"""The fields that pictures are searched by: columns of their row, and fields of their metadata."""

import re
from dataclasses import dataclass
from enum import Enum

from rokka.errors import Invalid
from sourceimages.metadata.entries import NAME

METADATA = re.compile(
    r"(?:user:(?:(?P<user_type>str|text|int|double|date|latlon|array|array_text):)?(?P<user>[a-z0-9_]{1,54})"
    r"|(?P<kind>dynamic|static):(?P<type>str|text|int|double|date|array|array_text):(?P<group>[a-z0-9_]{1,54}):(?P<property>[a-z0-9_]{1,64}))\Z"
)


class Kind(Enum):
    """How values of a field are compared."""

    TEXT = "text"  # whole, bytewise
    WORDS = "words"
    NUMBER = "number"
    MOMENT = "moment"
    TRUTH = "truth"
    PLACE = "place"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the picture's row, or of what it points to."""

    name: str  # what the API calls it
    column: str
    kind: Kind
    only_in_trash: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """A field of metadata, with the types that a filter on it may mean."""

    name: str  # without its type: user:year, dynamic:version:text
    types: tuple[str, ...]
    kind: Kind


Field = Column | Metadata

COLUMNS = {
    column.name: column
    for column in (
        Column("hash", "hash", Kind.TEXT),
        Column("short_hash", "short_hash", Kind.TEXT),
        Column("binaryhash", "binary_hash", Kind.TEXT),
        Column("mimetype", "mimetype", Kind.TEXT),
        Column("format", "format", Kind.TEXT),
        Column("name", "name", Kind.TEXT),
        Column("size", "size", Kind.NUMBER),
        Column("width", "width", Kind.NUMBER),
        Column("height", "height", Kind.NUMBER),
        Column("created", "created", Kind.MOMENT),
        Column("protected", "protected", Kind.TRUTH),
        Column("locked", "locked", Kind.TRUTH),
        Column("deletedDate", "tombstone__deleted_at", Kind.MOMENT, only_in_trash=True),
    )
}
NAME_TEXT = "name_text"
KINDS = {
    "str": Kind.TEXT,
    "array": Kind.TEXT,
    "text": Kind.WORDS,
    "array_text": Kind.WORDS,
    "int": Kind.NUMBER,
    "double": Kind.NUMBER,
    "date": Kind.MOMENT,
    "latlon": Kind.PLACE,
}
STORED = {"latlon": ("lat", "lon")}  # types in the index, where they differ


def field(name: str, *, in_trash: bool = False) -> Field:
    """The field that a filter names. Raises Invalid."""
    if name == NAME_TEXT:
        return Metadata(NAME, ("text",), Kind.WORDS)
    if column := COLUMNS.get(name):
        if column.only_in_trash and not in_trash:
            raise Invalid(f"{name}: only pictures in the trash have it; ask for deleted=true.")
        return column
    parsed = METADATA.match(name)
    if parsed is None:
        known = ", ".join((*COLUMNS, NAME_TEXT))
        raise Invalid(f"{name[:80]!r} is no field: there are {known}, user:type:name, dynamic:type:name:property.")
    if parsed["user"]:
        type = parsed["user_type"]
        types = (type,) if type else ("str", "array")
        return Metadata(f"user:{parsed['user']}", types, KINDS[types[0]])
    type = parsed["type"]
    return Metadata(f"{parsed['kind']}:{parsed['group']}:{parsed['property']}", (type,), KINDS[type])
