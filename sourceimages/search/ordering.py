"""Sort images. Sorting by a metadata field first takes two queries: images that have it, then the others.

A single query would have to look up the field of every image before returning the first one.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import BooleanField, Exists, ExpressionWrapper, F, FilteredRelation, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from organizations.models import Organization
from sourceimages.models import MetadataField, MetadataIndexEntry, MetadataNumber, MetadataString, SourceImage
from sourceimages.search import cursor, index_state
from sourceimages.search.sort import Key, Order

Images = QuerySet[SourceImage]


def phases(images: Images, organization: Organization, order: Order, position: Sequence[Any]) -> list[Images]:
    """Querysets to read one after the other; with a position, only images after it.

    Raises IndexNotReady for metadata fields.
    """
    if any(key.field is not None for key in order):
        index_state.check_current(organization)
    for number, key in enumerate(order):
        if key.field is not None and not key.missing and number > 1:
            images = _annotated(images, organization, key)
    if order[0].field is None:
        return [_ordered(images, order, position)]
    key, rest = order[1], order[1:]
    rows = _rows(organization, key)
    in_second = bool(position) and position[0]
    found = []
    if not in_second:
        with_field = images.filter(**{f"{_related(key)}__field": _field_id(organization, key)})
        first = with_field.annotate(**{order[0].column: Value(False), key.column: F(f"{_related(key)}__value")})
        found.append(_ordered(first, rest, position[1:]))
    without = images.filter(~Q(Exists(rows.filter(image=OuterRef("pk")))))
    second = without.annotate(**{order[0].column: Value(True), key.column: Value(key.kind())})
    others = order[2:]
    found.append(_ordered(second, others, position[2:] if in_second else ()))
    return found


def _ordered(images: Images, order: Order, position: Sequence[Any]) -> Images:
    images = images.order_by(*map(str, order))
    return images.filter(cursor.after(order, position)) if position else images


def _annotated(images: Images, organization: Organization, key: Key) -> Images:
    """The images annotated with the value of a field that is not the first sort key, and whether it is missing.

    An image has one value of a sortable field at most, so a join adds no rows. Looking up the value of each image in a
    subquery takes several times as long.
    """
    row, related = f"{key.column}_row", _related(key)
    of_field = FilteredRelation(related, condition=Q(**{f"{related}__field": _field_id(organization, key)}))
    return images.annotate(**{row: of_field}).annotate(
        **{
            f"{key.column}_missing": ExpressionWrapper(
                Q(**{f"{row}__value__isnull": True}), output_field=BooleanField()
            ),
            key.column: Coalesce(F(f"{row}__value"), Value(key.kind())),
        }
    )


def _rows(organization: Organization, key: Key) -> QuerySet[Any]:
    return _table(key).objects.filter(field=_field_id(organization, key))  # type: ignore[attr-defined, no-any-return]


def _table(key: Key) -> type[MetadataIndexEntry]:
    return MetadataString if key.kind is str else MetadataNumber


def _related(key: Key) -> str:
    return f"{_table(key).__name__.lower()}s"


def _field_id(organization: Organization, key: Key) -> int:
    """The id of the field; 0, which matches no row, if it does not exist."""
    assert key.field is not None  # noqa: S101 (asked for keys of metadata only)
    fields = MetadataField.objects.filter(organization=organization, name=key.field.name, type=key.field.types[0])
    return fields.values_list("pk", flat=True).first() or 0
