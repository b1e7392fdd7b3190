"""Expressions as conditions of the database: columns compared, and rows of the index looked up.

What must hold becomes `IN (subquery)`, what must not `NOT EXISTS`: either is planned well on both databases.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any as Anything

from django.db.models import Exists, ExpressionWrapper, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import ASin, Cos, Power, Radians, Sin, Sqrt
from django.db.models.lookups import Exact

from organizations.models import Organization
from rokka.clock import from_iso
from rokka.errors import Invalid
from sourceimages import indexstate
from sourceimages.errors import InvalidFilter
from sourceimages.metadata.entries import cut
from sourceimages.metadata.values import MAX_INTEGER
from sourceimages.metadata.words import stems, words
from sourceimages.models import IndexRow, MetadataField, MetadataNumber, MetadataString, MetadataToken
from sourceimages.search.fields import STORED, Column, Field, Kind, Metadata, field
from sourceimages.search.values import All, Any, Begins, Between, Condition, Equals, Expression, Near, Not

EARTH = 6_371_008.8  # metres, its mean radius (IUGG)
LAST = chr(0x10FFFF)  # comes behind every character
TRUTHS = {"true": True, "1": True, "false": False, "0": False}
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `low` to `high`; None is an open end."""

    low: Anything
    high: Anything
    with_low: bool = True
    with_high: bool = True

    def condition(self, name: str) -> Q:
        if self.low is not None and self.low == self.high and self.with_low and self.with_high:
            return Q(**{name: self.low})  # of which databases know better how many rows there are
        found = Q()
        if self.low is not None:
            found &= Q(**{f"{name}__gte" if self.with_low else f"{name}__gt": self.low})
        if self.high is not None:
            found &= Q(**{f"{name}__lte" if self.with_high else f"{name}__lt": self.high})
        return found


def exactly(value: Anything) -> Range:
    return Range(value, value)


class Filter:
    """Compiles expressions for one organization; fields of metadata are looked up once for all of them.

    What is found `for_action` is going to be changed: then it is refused to negate a field that no image has. Raises
    IndexNotReady for metadata that is not indexed as it should be.
    """

    def __init__(
        self, organization: Organization, expression: Expression, *, in_trash: bool, for_action: bool = False
    ) -> None:
        self.in_trash, self.for_action = in_trash, for_action
        self.fields: dict[str, Field] = {
            one.field: field(one.field, in_trash=in_trash) for one in conditions(expression)
        }
        self.expression = expression
        names = {one.name for one in self.fields.values() if isinstance(one, Metadata)}
        self.language = indexstate.check_current(organization) if names else ""
        found = MetadataField.objects.filter(organization=organization, name__in=names) if names else ()
        self.ids: dict[tuple[str, str], int] = {(one.name, one.type): one.pk for one in found}

    def condition(self) -> Q:
        return self._compiled(self.expression, wanted=True)

    def _compiled(self, expression: Expression, *, wanted: bool) -> Q:
        """`wanted` is False within an odd number of NOTs, which end at the conditions (De Morgan)."""
        match expression:
            case Not(part):
                return self._compiled(part, wanted=not wanted)
            case All(parts) | Any(parts) if isinstance(expression, All) == wanted:
                return _all([self._compiled(part, wanted=wanted) for part in parts])
            case All(parts) | Any(parts):
                if wanted and (together := self._together(parts)) is not None:
                    return together
                return _any([self._compiled(part, wanted=wanted) for part in parts])
            case Condition():
                return self._condition(expression, wanted)

    def _together(self, parts: Iterable[Expression]) -> Q | None:
        """Any of several rows of the index as one subquery: for an OR of several, every picture would be tested."""
        found = []
        for part in parts:
            meant = self.fields[part.field] if isinstance(part, Condition) else None
            if not isinstance(part, Condition) or not isinstance(meant, Metadata) or _whole_text(meant, part):
                return None
            found.append(self._rows(meant, part))
        if any(len(rows) > 1 for rows in found):
            return None
        first, *others = (rows[0].values("image") for rows in found)
        return Q(pk__in=first.union(*others, all=True))

    def _condition(self, condition: Condition, wanted: bool) -> Q:
        meant = self.fields[condition.field]
        if isinstance(meant, Column):
            try:
                found = _range(meant.kind, condition).condition(meant.column)
            except ValueError as error:
                raise Invalid(f"{condition.field}: {error}") from error
            return found if wanted else (~found if found else Q(pk__in=[]))
        if self.for_action and not wanted and not self._in_use(meant):
            raise InvalidFilter(
                f"{condition.field}: no image has this field, so that all of them lack it. A search for what must not "
                f"be there selects nothing to act on unless some have the field; check its name and type."
            )
        rows = self._rows(meant, condition)
        if (whole := _whole_text(meant, condition)) is not None:  # the index has its beginning only
            found = Q(whole, pk__in=rows[0].values("image"))
            return found if wanted else ~found
        if wanted:
            return _all([Q(pk__in=one.values("image")) for one in rows])
        return _any([~Q(Exists(one.filter(image=OuterRef("pk")))) for one in rows])

    def _rows(self, meant: Metadata, condition: Condition) -> list[QuerySet[Anything]]:
        """Rows of the index; a picture that fits has one in each of these."""
        try:
            if meant.kind is Kind.PLACE:
                return [self._near(meant, condition)]
            fields = [self.ids[meant.name, type] for type in meant.types if (meant.name, type) in self.ids]
            if meant.kind is Kind.WORDS:
                return [_in_table(MetadataToken, fields, one) for one in self._words(condition)]
            return [_in_table(_table(meant.kind), fields, _range(meant.kind, condition, index=True))]
        except ValueError as error:
            raise Invalid(f"{condition.field}: {error}") from error

    def _in_use(self, meant: Metadata) -> bool:
        """Whether any image that is searched has the field."""
        types = [stored for type in meant.types for stored in STORED.get(type, (type,))]
        fields = [self.ids[meant.name, type] for type in types if (meant.name, type) in self.ids]
        rows = _table(meant.kind).objects.filter(field__in=fields)  # type: ignore[attr-defined]
        return bool(fields) and bool(rows.filter(image__tombstone__isnull=not self.in_trash).exists())

    def _words(self, condition: Condition) -> list[Range]:
        """Each word that has to be there; the last one of a beginning may go on."""
        match condition.value:
            case Equals(text):
                found = [exactly(stem) for stem in stems(text, self.language)]
            case Begins(text):
                found = [exactly(stem) for stem in stems(text, self.language)][:-1]
                found += [_beginning(word) for word in words(text)[-1:]]
            case _:
                raise ValueError("its words are looked for, not ranges of them.")
        if not found:
            raise ValueError("there is no word to look for.")
        return found

    def _near(self, meant: Metadata, condition: Condition) -> QuerySet[Anything]:
        latitudes, longitudes = (self.ids.get((meant.name, type)) for type in STORED["latlon"])
        match condition.value:
            case Near(latitude, longitude, metres):
                if not (abs(latitude) <= 90 and abs(longitude) <= 180):
                    raise ValueError("the latitude must be within ±90 and the longitude within ±180.")
            case Equals(text) if text.count(",") == 1:
                latitude, longitude = map(_number, text.split(","))
                metres = 0.0
            case _:
                raise ValueError("ask for a place and a distance, like 47.38,8.52~10km.")
        if latitudes is None or longitudes is None:
            return MetadataNumber.objects.none()
        return _within(latitudes, longitudes, float(latitude), float(longitude), metres)


def _whole_text(meant: Metadata, condition: Condition) -> Exact | None:
    """The comparison with the document that a long text needs; elements of arrays are compared by their beginning."""
    document, _, name = meant.name.partition(":")
    if meant.kind is not Kind.TEXT or not isinstance(condition.value, Equals) or document != "user":
        return None
    text = condition.value.text
    return Exact(KeyTextTransform(name, "user_metadata"), Value(text)) if cut(text) != text else None


def conditions(expression: Expression) -> Iterable[Condition]:
    match expression:
        case Condition():
            yield expression
        case Not(part):
            yield from conditions(part)
        case All(parts) | Any(parts):
            for part in parts:
                yield from conditions(part)


def _table(kind: Kind) -> type[IndexRow]:
    match kind:
        case Kind.TEXT:
            return MetadataString
        case Kind.WORDS:
            return MetadataToken
    return MetadataNumber


def _in_table(table: type[IndexRow], fields: list[int], values: Range) -> QuerySet[Anything]:
    one_or_all = Q(field=fields[0]) if len(fields) == 1 else Q(field__in=fields)
    return table.objects.filter(values.condition("value"), one_or_all)  # type: ignore[attr-defined, no-any-return]


def _all(parts: list[Q]) -> Q:
    found = Q()
    for part in parts:
        found &= part
    return found


def _any(parts: list[Q]) -> Q:
    if any(not part for part in parts):
        return Q()  # one of them holds for all
    found = Q()
    for part in parts:
        found |= part
    return found


def _within(latitudes: int, longitudes: int, latitude: float, longitude: float, metres: float) -> QuerySet[Anything]:
    """Rows of latitudes whose place is near enough: by a box, which the index serves, then by the great circle."""
    reach = math.degrees(metres / EARTH) + 1e-9
    south, north = latitude - reach, latitude + reach
    rows = MetadataNumber.objects.filter(field=latitudes, value__gte=south, value__lte=north)
    there = MetadataNumber.objects.filter(field=longitudes, image=OuterRef("image"))
    if abs(latitude) + reach < 90:
        breadth = reach / math.cos(math.radians(max(abs(south), abs(north))))
        if abs(longitude) + breadth < 180:  # no further than the antimeridian
            there = there.filter(value__gte=longitude - breadth, value__lte=longitude + breadth)
    rows = rows.annotate(longitude=Subquery(there.values("value")[:1], output_field=FloatField()))
    half_chord = Power(Sin(Radians(F("value") - latitude) / 2.0), 2) + Cos(Radians(F("value"))) * math.cos(
        math.radians(latitude)
    ) * Power(Sin(Radians(F("longitude") - longitude) / 2.0), 2)
    distance = ExpressionWrapper(Value(2 * EARTH) * ASin(Sqrt(half_chord)), output_field=FloatField())
    return rows.filter(longitude__isnull=False).annotate(distance=distance).filter(distance__lte=metres + 0.01)


# --- Values as their field compares them ------------------------------------------------------------------------------


def _range(kind: Kind, condition: Condition, *, index: bool = False) -> Range:
    read = READERS[kind]
    match condition.value:
        case Equals(text):
            return _equal(kind, read(text), index)
        case Begins(text):
            if kind is not Kind.TEXT:
                raise ValueError("only texts have a beginning; ask for a range.")
            return _beginning(cut(text) if index else text)
        case Between(low, high, with_low, with_high):
            if kind is Kind.TRUTH:
                raise ValueError("it is true or false.")
            ends = [None if end is None else read(end) for end in (low, high)]
            if kind is Kind.MOMENT:
                return _between_moments(ends[0], ends[1], with_low, with_high, index)
            if kind is Kind.TEXT and index:
                ends = [None if end is None else cut(end) for end in ends]
            return Range(ends[0], ends[1], with_low, with_high)
        case Near():
            raise ValueError("it is no place.")


def _equal(kind: Kind, value: Anything, index: bool) -> Range:
    if kind is Kind.MOMENT:
        return _between_moments(value, value, True, True, index)
    return exactly(cut(value) if kind is Kind.TEXT and index else value)


def _between_moments(
    low: datetime | None, high: datetime | None, with_low: bool, with_high: bool, index: bool
) -> Range:
    """Whole seconds are compared: what was stored within the second of an end is as the end itself."""
    if low is not None and not with_low:
        low += SECOND
    if high is not None and with_high:
        high += SECOND
    if index:
        return Range(low and low.timestamp(), high and high.timestamp(), with_high=False)
    return Range(low, high, with_high=False)


def _beginning(text: str) -> Range:
    return Range(text, text + LAST, with_high=False)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("it contains a NUL character.")
    return text


def _number(text: str) -> float | int:
    try:
        number = int(text)
    except ValueError:
        try:
            real = float(text)
        except ValueError:
            raise ValueError(f"{text[:40]!r} is no number.") from None
        if not math.isfinite(real):
            raise ValueError(f"{text[:40]!r} is no finite number.") from None
        return real
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{text[:40]!r} does not fit into 64 bits.")
    return number


def _moment(text: str) -> datetime:
    try:
        moment = from_iso(text.strip("'\""))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.replace(microsecond=0) if 1 < moment.year < 9999 else _too_far(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is no date like 2024-03-05T09:30:00Z.") from None


def _too_far(text: str) -> datetime:
    raise ValueError(text)


def _truth(text: str) -> bool:
    if text.lower() not in TRUTHS:
        raise ValueError("it is true or false.")
    return TRUTHS[text.lower()]


READERS: dict[Kind, Callable[[str], Anything]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.MOMENT: _moment,
    Kind.TRUTH: _truth,
}
