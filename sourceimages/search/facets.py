"""How often each value occurs among images that were found."""

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
FORMATTERS: dict[str, Callable[[Any], Any]] = {  # types of metadata that are counted, and how their values are answered
    "str": str,
    "array": str,
    "int": int,
    "double": float,
    "date": lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"),
}

Facet = list[dict[str, Any]]


def facets(images: QuerySet[SourceImage], organization: Organization, text: str) -> dict[str, Facet]:
    """The values of each field named in the text, the most frequent first. Raises Invalid, IndexNotReady."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MAX_FACETS:
        raise InvalidInput(f"facets: at most {MAX_FACETS} fields.")
    return {name: _facet(images, organization, name) for name in names}


def _facet(images: QuerySet[SourceImage], organization: Organization, name: str) -> Facet:
    """Of a field that no image has, it is empty, whatever its type."""
    try:
        found = fields(organization, [name])[name]
    except InvalidInput as error:
        raise InvalidInput(f"facets: {error.message}") from error
    if isinstance(found, Column):
        if found.column not in COLUMNS:
            raise InvalidInput(
                f"facets: {name!r} is none; there are {', '.join(COLUMNS)}, and {', '.join(FORMATTERS)}."
            )
        return _counted(images.order_by().values(value=F(found.column)).annotate(count=Count("pk")), str)
    index_state.check_current(organization)
    types = [stored for type in found.types for stored in INDEXED_TYPES.get(type, (type,))]
    used = MetadataField.objects.filter(organization=organization, name=found.name, type__in=types)
    ids = list(used.values_list("pk", flat=True))
    if not ids:
        return []
    if found.types[0] not in FORMATTERS:
        raise InvalidInput(f"facets: {name!r} is none; of metadata, there are those of {', '.join(FORMATTERS)}.")
    table = MetadataString if found.kind is Kind.TEXT else MetadataNumber
    rows = table.objects.filter(field__in=ids, image__in=images.order_by().values("pk"))
    return _counted(rows.values("value").annotate(count=Count("image_id")), FORMATTERS[found.types[0]])


def _counted(values: QuerySet[Any, Any], written: Callable[[Any], Any]) -> Facet:
    most = values.order_by("-count", "value")[:MAX_VALUES]
    return [{"value": written(one["value"]), "count": one["count"]} for one in most]


def fields_in_use(organization: Organization) -> list[Mapping[str, Any]]:
    """Every field of metadata that active images have, as filters name it, with the number of these images.

    Raises IndexNotReady.
    """
    index_state.check_current(organization)
    counts: dict[int, int] = {}
    for table in MetadataString, MetadataToken, MetadataNumber:
        rows = table.objects.filter(field__organization=organization, image__tombstone__isnull=True)
        counts |= dict(rows.values_list("field").annotate(count=Count("image_id", distinct=True)))
    found = {}
    for one in MetadataField.objects.filter(organization=organization, pk__in=counts).exclude(name=ANYWHERE):
        prefix, _, rest = one.name.partition(":")
        type = {"lat": "latlon", "lon": "latlon"}.get(one.type, one.type)
        found[f"{prefix}:{type}:{rest}" if rest else "name_text"] = (type, counts[one.pk])
    return [{"name": name, "type": type, "count": count} for name, (type, count) in sorted(found.items())]
