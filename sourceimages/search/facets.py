"""How often each value occurs among pictures that were found."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, F, QuerySet

from organizations.models import Organization
from rokka.errors import Invalid
from sourceimages import indexstate
from sourceimages.models import MetadataField, MetadataNumber, MetadataString, MetadataToken, SourceImage
from sourceimages.search.fields import Column, Kind, field

MOST_VALUES = 1000
MOST_FACETS = 10
COLUMNS = ("format", "mimetype")

Facet = list[dict[str, Any]]


def facets(images: QuerySet[SourceImage], organization: Organization, text: str) -> dict[str, Facet]:
    """The values of each field named in the text, the most frequent first. Raises Invalid, IndexNotReady."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MOST_FACETS:
        raise Invalid(f"facets: at most {MOST_FACETS} fields.")
    return {name: _facet(images, organization, name) for name in names}


def _facet(images: QuerySet[SourceImage], organization: Organization, name: str) -> Facet:
    try:
        found = field(name)
    except Invalid as error:
        raise Invalid(f"facets: {error.message}") from error
    if isinstance(found, Column):
        if found.column not in COLUMNS:
            raise Invalid(f"facets: {name!r} is none; there are {', '.join(COLUMNS)}, and str and array of metadata.")
        counted = images.order_by().values(value=F(found.column)).annotate(count=Count("pk"))
    else:
        if found.kind is not Kind.TEXT:
            raise Invalid(f"facets: {name!r} is none; of metadata, there are those of str and array.")
        indexstate.check_current(organization)
        fields = MetadataField.objects.filter(organization=organization, name=found.name, type__in=found.types)
        rows = MetadataString.objects.filter(field__in=list(fields.values_list("pk", flat=True)))
        rows = rows.filter(image__in=images.order_by().values("pk"))
        counted = rows.values("value").annotate(count=Count("image_id"))  # type: ignore[assignment]
    return [{"value": one["value"], "count": one["count"]} for one in counted.order_by("-count", "value")[:MOST_VALUES]]


def fields_in_use(organization: Organization) -> list[Mapping[str, Any]]:
    """Every field of metadata that living pictures have, as filters name it, with the number of these pictures.

    Raises IndexNotReady.
    """
    indexstate.check_current(organization)
    counts: dict[int, int] = {}
    for table in MetadataString, MetadataToken, MetadataNumber:
        rows = table.objects.filter(field__organization=organization, image__tombstone__isnull=True)
        counts |= dict(rows.values_list("field").annotate(count=Count("image_id", distinct=True)))
    found = {}
    for one in MetadataField.objects.filter(organization=organization, pk__in=counts):
        prefix, _, rest = one.name.partition(":")
        type = {"lat": "latlon", "lon": "latlon"}.get(one.type, one.type)
        found[f"{prefix}:{type}:{rest}" if rest else "name_text"] = (type, counts[one.pk])
    return [{"name": name, "type": type, "count": count} for name, (type, count) in sorted(found.items())]
