"""Facets: counts of the values of a field among the found images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from organizations.models import Organization
from rokka.core import time_limits
from rokka.core.errors import InvalidInput
from sourceimages.metadata.index_entries import ANYWHERE
from sourceimages.models import MetadataField, MetadataNumber, MetadataString, MetadataToken, SourceImage
from sourceimages.search import index_state
from sourceimages.search.fields import INDEXED_TYPES, Column, Kind, fields

MAX_VALUES = 1000
MAX_FACETS = 10
SINGLE_VALUED_TYPES = {"str", "int", "double", "date", "lat", "lon"}  # an image has one value per field
COLUMNS = ("format", "mimetype")
FORMATTERS: dict[str, Callable[[Any], Any]] = {  # metadata types with facets, and how their values are returned
    "str": str,
    "array": str,
    "int": int,
    "double": float,
    "date": lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"),
}

Facet = list[dict[str, Any]]


def facet_names(text: str) -> list[str]:
    """The fields in the parameter `facets`. Raises InvalidInput."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MAX_FACETS:
        raise InvalidInput(f"facets: the limit is {MAX_FACETS} fields.")
    return names


# The rows of `found` are unique, so a join counts as IN does, and PostgreSQL estimates it better.
COUNT_COLUMN = """SELECT {column} AS value, COUNT(*) AS count
    FROM {table} AS images JOIN found ON found.id = images.id
    GROUP BY {column} ORDER BY count DESC, value LIMIT {limit}"""
COUNT_ENTRIES = """SELECT value, COUNT(*) AS count
    FROM {table} AS entries JOIN found ON found.id = entries.image_id
    WHERE field_id IN ({fields})
    GROUP BY value ORDER BY count DESC, value LIMIT {limit}"""


@dataclass(frozen=True, slots=True)
class Counts:
    """A statement that counts the images with each value of a field, and how a value is returned."""

    sql: str
    format_value: Callable[[Any], Any] = str
    numeric: bool = False


def facets(
    images: QuerySet[SourceImage], organization: Organization, names: Sequence[str]
) -> tuple[int, dict[str, Facet]]:
    """The number of images, and the values of each field, most frequent first. Raises InvalidInput, IndexNotReady.

    One statement looks for the images once, for all fields: their conditions can be expensive.
    """
    counts = {name: found for name in names if (found := _counts(organization, name))}
    advice = "Request fewer facets at once, or add conditions that fewer images meet."
    with time_limits.part("counted the values of facets", advice):
        rows = _rows(images, list(counts.values()))
    values: dict[str, list[tuple[int, Any]]] = {name: [] for name in names}
    total = 0
    used = list(counts)
    for number, text, value, count in rows:
        if number is None:
            total = count
        else:
            values[used[number]].append((-count, value if text is None else text))
    return total, {
        name: [{"value": counts[name].format_value(value), "count": -count} for count, value in sorted(found)]
        for name, found in values.items()
    }


def _counts(organization: Organization, name: str) -> Counts | None:
    """Return None if no image has the field, whatever its type."""
    try:
        found = fields(organization, [name])[name]
    except InvalidInput as error:
        raise InvalidInput(f"facets: {error.message}") from error
    if isinstance(found, Column):
        if found.column not in COLUMNS:
            raise InvalidInput(
                f"facets: {name!r} is not supported. Use {', '.join(COLUMNS)} or types {', '.join(FORMATTERS)}."
            )
        table = SourceImage._meta.db_table
        return Counts(COUNT_COLUMN.format(column=found.column, table=table, limit=MAX_VALUES))
    index_state.check_current(organization)
    types = [stored for type in found.types for stored in INDEXED_TYPES.get(type, (type,))]
    used = MetadataField.objects.filter(organization=organization, name=found.name, type__in=types)
    ids = list(used.values_list("pk", flat=True))
    if not ids:
        return None
    if found.types[0] not in FORMATTERS:
        raise InvalidInput(f"facets: {name!r} is not supported. Use fields of type {', '.join(FORMATTERS)}.")
    numeric = found.kind is not Kind.TEXT
    table = (MetadataNumber if numeric else MetadataString)._meta.db_table
    sql = COUNT_ENTRIES.format(table=table, fields=", ".join(map(str, ids)), limit=MAX_VALUES)
    return Counts(sql, FORMATTERS[found.types[0]], numeric)


def _rows(images: QuerySet[SourceImage], counts: Sequence[Counts]) -> list[tuple[int | None, str | None, Any, int]]:
    """Number in `counts`, text, number and count of each value; and a row with the number of images."""
    try:
        sql, parameters = images.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:  # no image can match
        return []
    selects = ["SELECT CAST(NULL AS integer), CAST(NULL AS text), CAST(NULL AS double precision), COUNT(*) FROM found"]
    for number, found in enumerate(counts):
        columns = "NULL, value" if found.numeric else "value, NULL"
        selects.append(f"SELECT {number}, {columns}, count FROM ({found.sql}) AS facet_{number}")  # noqa: S608 (no values)
    with connection.cursor() as cursor:
        cursor.execute(f"WITH found (id) AS MATERIALIZED ({sql}) {' UNION ALL '.join(selects)}", parameters)
        return list(cursor.fetchall())


def fields_in_use(organization: Organization) -> list[Mapping[str, Any]]:
    """All metadata fields of active images, named as in filters, with the number of images.

    Raises IndexNotReady.
    """
    index_state.check_current(organization)
    fields = list(MetadataField.objects.filter(organization=organization).exclude(name=ANYWHERE))
    has_trash = organization.images.filter(tombstone__isnull=False).exists()
    counts: dict[int, int] = {}
    advice = "Use the names of the fields in filters, without listing them."
    with time_limits.part("counted the images of each field", advice):
        for table, several in (
            *((MetadataString, False), (MetadataNumber, False)),
            *((MetadataString, True), (MetadataToken, True)),
        ):
            ids = [one.pk for one in fields if (one.type not in SINGLE_VALUED_TYPES) == several]
            pairs = table.objects.filter(field__in=ids).order_by().values("field", "image")
            if has_trash:
                pairs = pairs.filter(image__tombstone__isnull=True)
            # DISTINCT hashes the pairs; COUNT(DISTINCT …) would sort the images of each field.
            counts |= _grouped(pairs.distinct() if several else pairs)
    found = {}
    for row in fields:
        if row.pk not in counts:
            continue
        prefix, _, rest = row.name.partition(":")
        type = {"lat": "latlon", "lon": "latlon"}.get(row.type, row.type)
        found[f"{prefix}:{type}:{rest}" if rest else "name_text"] = (type, counts[row.pk])
    return [{"name": name, "type": type, "count": count} for name, (type, count) in sorted(found.items())]


def _grouped(pairs: QuerySet[Any, Any]) -> dict[int, int]:
    """The number of rows of each field in a query of fields and images."""
    try:
        sql, parameters = pairs.query.sql_with_params()
    except EmptyResultSet:  # there are no fields
        return {}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT field, COUNT(*) FROM ({sql}) AS pairs GROUP BY field", parameters)  # noqa: S608 (no values)
        return dict(cursor.fetchall())
