"""Lookups in the search index, and how several of them are combined.

A condition on metadata is a lookup: the images with a row in one table, of one field, within an interval of values.
PostgreSQL can't estimate how many rows that are, because values of all fields are in one table. For many lookups that
leads to plans which test every image for every lookup. Therefore, conditions that others imply are left out, the
remaining ones are counted up to a limit, and the result decides how they are combined:

- up to PLANNED conditions: one subquery each, joined by the database;
- if one of them finds few images: these images, tested for one condition after the other;
- otherwise: INTERSECT, whose time depends only on the number of rows. If many images match, the first ones in an order
  are found sooner by testing the images in that order, so a page is read with the subqueries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q, QuerySet

from sourceimages.models import MetadataIndexEntry
from sourceimages.models.search import MetadataNumber

MANY = 5_000  # images; up to here, lookups are counted, and their images listed
PLANNED = 3  # lookups


@dataclass(frozen=True, slots=True)
class Interval:
    """Values from `low` to `high`; None is an open end."""

    low: Any
    high: Any
    include_low: bool = True
    include_high: bool = True

    @property
    def is_value(self) -> bool:
        """Return whether it is a single value."""
        return self.low is not None and self.low == self.high and self.include_low and self.include_high

    def condition(self, name: str) -> Q:
        if self.is_value:
            return Q(**{name: self.low})  # databases estimate equality better
        found = Q()
        if self.low is not None:
            found &= Q(**{f"{name}__gte" if self.include_low else f"{name}__gt": self.low})
        if self.high is not None:
            found &= Q(**{f"{name}__lte" if self.include_high else f"{name}__lt": self.high})
        return found

    def intersection(self, other: "Interval") -> "Interval":
        low, include_low = self.low, self.include_low
        if low is None or (other.low is not None and other.low > low):
            low, include_low = other.low, other.include_low
        elif other.low == low:
            include_low = include_low and other.include_low
        high, include_high = self.high, self.include_high
        if high is None or (other.high is not None and other.high < high):
            high, include_high = other.high, other.include_high
        elif other.high == high:
            include_high = include_high and other.include_high
        return Interval(low, high, include_low, include_high)

    def covers(self, other: "Interval") -> bool:
        return self.intersection(other) == other


def exact_interval(value: Any) -> Interval:
    return Interval(value, value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def is_value(self) -> bool:
        return True

    def condition(self, name: str) -> Q:
        return Q(**{f"{name}__in": self.values})


Values = Interval | OneOf


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Index rows of the fields with one of the values. `single`: an image has at most one value of the field."""

    table: type[MetadataIndexEntry]
    fields: tuple[int, ...]
    values: Values
    single: bool = False

    @classmethod
    def of(
        cls, table: type[MetadataIndexEntry], fields: tuple[int, ...], values: "Interval", *, single: bool
    ) -> "Lookup":
        if table is MetadataNumber:  # compare as the column does
            values = replace(values, low=_float(values.low), high=_float(values.high))
        return cls(table, fields, values, single and len(fields) == 1)

    def condition(self) -> Q:
        one_or_all = Q(field=self.fields[0]) if len(self.fields) == 1 else Q(field__in=self.fields)
        return self.values.condition("value") & one_or_all

    def rows(self) -> QuerySet[Any]:
        return self.table.objects.filter(self.condition())  # type: ignore[attr-defined, no-any-return]

    def is_implied_by(self, other: "AnyLookup") -> bool:
        """Return whether every image that the other finds is found by this one."""
        return isinstance(other, Lookup) and self._same_rows(other) and _covers(self.values, other.values)

    def merged(self, other: "AnyLookup") -> "Lookup | None":
        """The lookup of images that both find, or None if one lookup can't find them."""
        if not isinstance(other, Lookup) or not self._same_rows(other) or not self.single:
            return None
        if not isinstance(self.values, Interval) or not isinstance(other.values, Interval):
            return None
        return replace(self, values=self.values.intersection(other.values))

    def _same_rows(self, other: "Lookup") -> bool:
        return self.table is other.table and self.fields == other.fields


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Index rows that are not an interval of values, such as locations."""

    found: QuerySet[Any]
    single = False

    def rows(self) -> QuerySet[Any]:
        return self.found

    def is_implied_by(self, other: "AnyLookup") -> bool:
        return self is other

    def merged(self, other: "AnyLookup") -> None:
        return None


AnyLookup = Lookup | Rows
Alternatives = tuple[AnyLookup, ...]  # images that one of these lookups finds


def _covers(one: Values, other: Values) -> bool:
    if isinstance(one, Interval) and isinstance(other, Interval):
        return one.covers(other)
    return one == other


def _float(value: Any) -> Any:
    return None if value is None else float(value)


def any_of(lookups: Sequence[AnyLookup]) -> Alternatives:
    """Alternatives, without those whose images another one finds too."""
    kept: list[AnyLookup] = []
    for one in lookups:
        if not any(other.is_implied_by(one) for other in kept):
            kept = [other for other in kept if not one.is_implied_by(other)] + [one]
    return tuple(kept)


def simplify(conditions: Sequence[Alternatives]) -> list[Alternatives]:
    """The same conditions, all of which must hold, without those that others imply."""
    merged: list[Alternatives] = []
    for one in conditions:
        for position, other in enumerate(merged):
            if len(one) == len(other) == 1 and (both := other[0].merged(one[0])) is not None:
                merged[position] = (both,)
                break
        else:
            merged.append(one)
    kept: list[Alternatives] = []
    for one in merged:
        if not any(_implies(other, one) for other in kept):
            kept = [other for other in kept if not _implies(one, other)] + [one]
    return kept


def _implies(one: Alternatives, other: Alternatives) -> bool:
    return all(any(second.is_implied_by(first) for second in other) for first in one)


def images(alternatives: Alternatives) -> QuerySet[Any]:
    """The ids of images that one of the lookups finds; an image can occur several times."""
    first, *others = (one.rows().values("image") for one in alternatives)
    return first.union(*others, all=True) if others else first


def count(conditions: Sequence[Alternatives], limit: int = MANY) -> list[int]:
    """The index rows of each condition, counted up to the limit and one more; with one statement."""
    if not conditions:
        return []
    parts, parameters = list[str](), list[Any]()
    for number, alternatives in enumerate(conditions):
        try:
            sql, values = images(alternatives).query.sql_with_params()
        except EmptyResultSet:  # the organization has no such field
            sql, values = "SELECT 1 WHERE 1 = 0", ()
        parts.append(f"SELECT {number}, COUNT(*) FROM (SELECT 1 FROM ({sql}) AS found LIMIT {limit + 1}) AS counted")  # noqa: S608 (no values)
        parameters += values
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        counts = dict(cursor.fetchall())
    return [counts[number] for number in range(len(conditions))]


def all_of(conditions: Sequence[Alternatives], counts: Sequence[int]) -> Q:
    """The condition for images that all of more than PLANNED (simplified) conditions find. `counts`: see `count`."""
    ordered = [one for _, one in sorted(zip(counts, conditions, strict=True), key=lambda pair: pair[0])]
    if min(counts) <= MANY:
        return Q(pk__in=_intersected(ordered))
    first, *others = (images(one) for one in ordered)
    return Q(pk__in=first.intersection(*others))


def joined(conditions: Sequence[Alternatives]) -> Q:
    found = Q()
    for one in conditions:
        found &= Q(pk__in=images(one))
    return found


def _intersected(conditions: Sequence[Alternatives]) -> list[int]:
    """The ids of images that all conditions find; the first one finds MANY at most."""
    found = set(images(conditions[0]).values_list("image", flat=True))
    for one in conditions[1:]:
        if not found:
            break
        rows = (lookup.rows().filter(image__in=found).values_list("image", flat=True) for lookup in one)
        found = {image for ids in rows for image in ids}
    return sorted(found)
