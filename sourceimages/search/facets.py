"""Facets: counts of the values of a field among the found images."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, F, QuerySet

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.metadata.index_entries import ANYWHERE
from sourceimages.models import MetadataField, MetadataNumber, MetadataString, MetadataToken, SourceImage
from sourceimages.search import index_state
from sourceimages.search.fields import INDEXED_TYPES, Column, Kind, fields

MAX_VALUES = 1000
MAX_FACETS = 10
COLUMNS = ("format", "mimetype")
FORMATTERS: dict[str, Callable[[Any], Any]] = {  # metadata types with facets, and how their values are returned
    "str": str,
    "array": str,
    "int": int,
    "double": float,
    "date": lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"),
}

Facet = list[dict[str, Any]]


def facets(images: QuerySet[SourceImage], organization: Organization, text: str) -> dict[str, Facet]:
    """The values of each field, most frequent first. Raises InvalidInput, IndexNotReady."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MAX_FACETS:
        raise InvalidInput(f"facets: the limit is {MAX_FACETS} fields.")
    return {name: _facet(images, organization, name) for name in names}


def _facet(images: QuerySet[SourceImage], organization: Organization, name: str) -> Facet:
    """The facet of a field; empty if no image has the field, whatever its type."""
    try:
        found = fields(organization, [name])[name]
    except InvalidInput as error:
        raise InvalidInput(f"facets: {error.message}") from error
    if isinstance(found, Column):
        if found.column not in COLUMNS:
            raise InvalidInput(
                f"facets: {name!r} is not supported. Use {', '.join(COLUMNS)} or types {', '.join(FORMATTERS)}."
            )
        return _counted(images.order_by().values(value=F(found.column)).annotate(count=Count("pk")), str)
    index_state.check_current(organization)
    types = [stored for type in found.types for stored in INDEXED_TYPES.get(type, (type,))]
    used = MetadataField.objects.filter(organization=organization, name=found.name, type__in=types)
    ids = list(used.values_list("pk", flat=True))
    if not ids:
        return []
    if found.types[0] not in FORMATTERS:
        raise InvalidInput(f"facets: {name!r} is not supported. Use fields of type {', '.join(FORMATTERS)}.")
    table = MetadataString if found.kind is Kind.TEXT else MetadataNumber
    rows = table.objects.filter(field__in=ids, image__in=images.order_by().values("pk"))
    return _counted(rows.values("value").annotate(count=Count("image_id")), FORMATTERS[found.types[0]])


def _counted(values: QuerySet[Any, Any], format_value: Callable[[Any], Any]) -> Facet:
    top = values.order_by("-count", "value")[:MAX_VALUES]
    return [{"value": format_value(row["value"]), "count": row["count"]} for row in top]


def fields_in_use(organization: Organization) -> list[Mapping[str, Any]]:
    """All metadata fields of active images, named as in filters, with the number of images.

    Raises IndexNotReady.
    """
    index_state.check_current(organization)
    counts: dict[int, int] = {}
    for table in MetadataString, MetadataToken, MetadataNumber:
        rows = table.objects.filter(field__organization=organization, image__tombstone__isnull=True)
        counts |= dict(rows.values_list("field").annotate(count=Count("image_id", distinct=True)))
    found = {}
    for row in MetadataField.objects.filter(organization=organization, pk__in=counts).exclude(name=ANYWHERE):
        prefix, _, rest = row.name.partition(":")
        type = {"lat": "latlon", "lon": "latlon"}.get(row.type, row.type)
        found[f"{prefix}:{type}:{rest}" if rest else "name_text"] = (type, counts[row.pk])
    return [{"name": name, "type": type, "count": count} for name, (type, count) in sorted(found.items())]
