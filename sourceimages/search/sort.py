"""Sort orders: columns and metadata fields, ascending or descending, with tie-breakers.

Images without a field come last in either direction.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.models import MetadataField
from sourceimages.search.fields import COLUMNS, INDEXED_TYPES, Column, MetadataFieldRef, fields

TERM = re.compile(r"\s*(?P<field>[A-Za-z0-9_:]+)(\s+(?P<direction>asc|desc))?\s*\Z", re.IGNORECASE)
MAX_TERMS = 5
SORTABLE = {"str": str, "int": float, "double": float, "date": float}  # metadata types, as stored in the index
COLUMN_TYPES: dict[str, type] = {
    "id": int,
    "size": int,
    "width": int,
    "height": int,
    "protected": bool,
    "locked": bool,
    "file__opaque": bool,
    "file__animated": bool,
    "created": datetime,
    "tombstone__deleted_at": datetime,
}


@dataclass(frozen=True, slots=True)
class Key:
    """A column of a sort order, or an annotation for a metadata field."""

    column: str
    descending: bool = False
    field: MetadataFieldRef | None = None
    missing: bool = False  # sorts by whether the image lacks the field, not by its value

    def __str__(self) -> str:
        return f"-{self.column}" if self.descending else self.column

    @property
    def label(self) -> str:
        """The name in cursors."""
        name = self.column if self.field is None else f"{self.field.name}:{self.field.types[0]}{'?' * self.missing}"
        return f"-{name}" if self.descending else name

    @property
    def kind(self) -> type:
        """The type of its values."""
        if self.missing:
            return bool
        return COLUMN_TYPES.get(self.column, str) if self.field is None else SORTABLE[self.field.types[0]]


Order = tuple[Key, ...]

# The trash can hold a hash several times.
TIE_BREAKERS = (Key("hash"), Key("id"))
DEFAULT = "created desc"


def parse(text: str, organization: Organization, *, in_trash: bool = False) -> Order:
    """Parse `field[ asc|desc],…` into a total order. Raises InvalidInput.

    A field that no image has is ignored, whatever its type.
    """
    terms = (text or DEFAULT).split(",")
    if len(terms) > MAX_TERMS:
        raise InvalidInput(f"sort: the limit is {MAX_TERMS} fields.")
    order: dict[str, Key] = {}
    for position, term in enumerate(terms):
        for key in _keys(term, position, organization, in_trash):
            order.setdefault(key.label.lstrip("-"), key)  # repeated fields have no effect
    if not order:
        return parse(DEFAULT, organization)
    keys = tuple(order.values())
    if keys[0].field is not None and len(terms) == 1:  # sorted by the index itself, with ids as tie-breaker
        return (*keys, Key("id", descending=keys[-1].descending))
    for key in TIE_BREAKERS:
        order.setdefault(key.column, key)
    keys = tuple(order.values())
    return keys[: [key.column for key in keys].index("id") + 1]


def _keys(term: str, position: int, organization: Organization, in_trash: bool) -> tuple[Key, ...]:
    parsed = TERM.match(term)
    if parsed is None:
        raise InvalidInput(
            f"sort: invalid term {term.strip()[:80]!r}. Use a field name, optionally followed by asc or desc."
        )
    descending = (parsed["direction"] or "asc").lower() == "desc"
    try:
        found = fields(organization, [parsed["field"]], in_trash=in_trash)[parsed["field"]]
    except InvalidInput as error:
        raise InvalidInput(f"sort: {error.message}") from error
    if isinstance(found, Column):
        return (Key(found.column, descending),)
    if found.types[0] not in SORTABLE:
        if not _in_use(organization, found):
            return ()
        raise InvalidInput(
            f"sort: {parsed['field'][:80]!r} is not sortable. Use {', '.join(COLUMNS)}, "
            f"or metadata of type {', '.join(SORTABLE)}."
        )
    name = f"order{position}"
    return Key(f"{name}_missing", field=found, missing=True), Key(name, descending, field=found)


def _in_use(organization: Organization, wanted: MetadataFieldRef) -> bool:
    types = INDEXED_TYPES.get(wanted.types[0], wanted.types)
    return MetadataField.objects.filter(organization=organization, name=wanted.name, type__in=types).exists()
