"""In which order pictures come: columns, each up or down, and always the same among equals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rokka.errors import Invalid

# What the API calls a field, and where it is. Hash and row id break ties: the trash may hold a hash many times.
COLUMNS = {
    "hash": "hash",
    "short_hash": "short_hash",
    "binaryhash": "binary_hash",
    "mimetype": "mimetype",
    "size": "size",
    "format": "format",
    "width": "width",
    "height": "height",
    "created": "created",
    "name": "name",
    "protected": "protected",
    "locked": "locked",
}
TRASH_COLUMNS = COLUMNS | {"deletedDate": "tombstone__deleted_at"}
TERM = re.compile(r"\s*(?P<field>[A-Za-z0-9_:]+)(\s+(?P<direction>asc|desc))?\s*\Z", re.IGNORECASE)
MAX_TERMS = 5


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order."""

    column: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.column}" if self.descending else self.column


Order = tuple[Key, ...]

TIE_BREAKERS = (Key("hash"), Key("id"))
DEFAULT = "created desc"


def parse(text: str, *, in_trash: bool = False) -> Order:
    """`field[ asc|desc]`, comma separated, as an order that leaves no two pictures equal. Raises Invalid."""
    columns = TRASH_COLUMNS if in_trash else COLUMNS
    terms = (text or DEFAULT).split(",")
    if len(terms) > MAX_TERMS:
        raise Invalid(f"sort: at most {MAX_TERMS} fields.")
    order: dict[str, Key] = {}
    for term in terms:
        key = _key(term, columns)
        order.setdefault(key.column, key)  # a column that comes again decides nothing any more
    for key in TIE_BREAKERS:
        order.setdefault(key.column, key)
    keys = tuple(order.values())
    return keys[: [key.column for key in keys].index("id") + 1]


def _key(term: str, columns: Mapping[str, str]) -> Key:
    parsed = TERM.match(term)
    if parsed is None:
        raise Invalid(f"sort: {term.strip()[:80]!r} is not a field, or a field and asc or desc.")
    if parsed["field"] not in columns:
        raise Invalid(f"sort: cannot sort by {parsed['field'][:80]!r}, only by {', '.join(columns)}.")
    return Key(columns[parsed["field"]], descending=(parsed["direction"] or "asc").lower() == "desc")
