"""Expressions as conditions of the database: columns compared, and rows of the index looked up.

What must hold becomes `IN (subquery)`, what must not `NOT EXISTS`: either is planned well on both databases.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any as Anything

from django.db.models import Exists, ExpressionWrapper, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import ASin, Cos, Power, Radians, Sin, Sqrt
from django.db.models.lookups import Exact

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.errors import InvalidFilter
from sourceimages.metadata.index_entries import truncate_bytes
from sourceimages.metadata.stemming import bigrams, forms, is_unspaced, neighbors, without_accents, words
from sourceimages.metadata.values import MAX_INTEGER, nfc
from sourceimages.models import MetadataField, MetadataIndexEntry, MetadataNumber, MetadataString, MetadataToken
from sourceimages.search import index_state
from sourceimages.search.ast import And, Condition, Equals, Expression, Not, Or, Phrase, Prefix, Range, Within
from sourceimages.search.fields import INDEXED_TYPES, Column, Kind, MetadataFieldRef, field, fields
from sourceimages.search.parser import conditions
from sourceimages.search.periods import Period, period

EARTH_RADIUS_M = 6_371_008.8  # metres, its mean radius (IUGG)
MAX_CHAR = chr(0x10FFFF)  # comes behind every character
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
MAX_WORDS = 200  # of all conditions; each is a subquery


@dataclass(frozen=True, slots=True)
class Interval:
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


def exact_interval(value: Anything) -> Interval:
    return Interval(value, value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these values."""

    values: tuple[Anything, ...]

    def condition(self, name: str) -> Q:
        return Q(**{f"{name}__in": self.values})


Sought = Interval | OneOf


class Filter:
    """Compiles expressions for one organization; fields of metadata are looked up once for all of them.

    What is found `for_action` is going to be changed: then it is refused to negate a field that no image has. Of what
    was `typed`, in `q`, a name without `user:` has to be a field of the organization: "note: broken" is two words.
    Raises Invalid, IndexNotReady for metadata that is not indexed as it should be.
    """

    def __init__(
        self,
        organization: Organization,
        expression: Expression,
        *,
        in_trash: bool,
        for_action: bool = False,
        typed: bool = False,
    ) -> None:
        self.in_trash, self.for_action = in_trash, for_action
        first = {one.field: one for one in reversed(list(conditions(expression)))}  # condition of each field
        for one in first.values() if typed else ():
            _check_name(one, in_trash)
        self.fields = fields(organization, first, in_trash=in_trash)
        for name, meant in self.fields.items() if typed else ():
            if isinstance(meant, MetadataFieldRef) and not meant.used:
                raise InvalidInput(f"{_location(first[name])}: no image of {organization.name!r} has this field.")
        self.expression, self.words = expression, 0
        names = {one.name for one in self.fields.values() if isinstance(one, MetadataFieldRef)}
        self.language = index_state.check_current(organization) if names else ""
        found = MetadataField.objects.filter(organization=organization, name__in=names) if names else ()
        self.ids: dict[tuple[str, str], int] = {(one.name, one.type): one.pk for one in found}

    def condition(self) -> Q:
        return self._compiled(self.expression, wanted=True)

    def _compiled(self, expression: Expression, *, wanted: bool) -> Q:
        """`wanted` is False within an odd number of NOTs, which end at the conditions (De Morgan)."""
        match expression:
            case Not(part):
                return self._compiled(part, wanted=not wanted)
            case And(parts) | Or(parts) if isinstance(expression, And) == wanted:
                return _and([self._compiled(part, wanted=wanted) for part in parts])
            case And(parts) | Or(parts):
                if wanted and (together := self._union(parts)) is not None:
                    return together
                return _or([self._compiled(part, wanted=wanted) for part in parts])
            case Condition():
                return self._condition(expression, wanted)

    def _union(self, parts: Iterable[Expression]) -> Q | None:
        """Any of several rows of the index as one subquery: for an OR of several, every picture would be tested."""
        found = []
        for part in parts:
            meant = self.fields[part.field] if isinstance(part, Condition) else None
            if (
                not isinstance(part, Condition)
                or not isinstance(meant, MetadataFieldRef)
                or _recheck_long_text(meant, part)
            ):
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
                raise InvalidInput(f"{_location(condition)}: {error}") from error
            return found if wanted else (~found if found else Q(pk__in=[]))
        if self.for_action and not wanted and not self._in_use(meant):
            raise InvalidFilter(
                f"{condition.field}: no image has this field, so that all of them lack it. A search for what must not "
                f"be there selects nothing to act on unless some have the field; check its name and type."
            )
        rows = self._rows(meant, condition)
        if (whole := _recheck_long_text(meant, condition)) is not None:  # the index has its beginning only
            found = Q(whole, pk__in=rows[0].values("image"))
            return found if wanted else ~found
        if wanted:
            return _and([Q(pk__in=one.values("image")) for one in rows])
        return _or([~Q(Exists(one.filter(image=OuterRef("pk")))) for one in rows])

    def _rows(self, meant: MetadataFieldRef, condition: Condition) -> list[QuerySet[Anything]]:
        """Rows of the index; a picture that fits has one in each of these."""
        try:
            if meant.kind is Kind.LOCATION:
                return [self._near(meant, condition)]
            fields = [self.ids[meant.name, type] for type in meant.types if (meant.name, type) in self.ids]
            if meant.kind is Kind.WORDS:
                return [_in_table(MetadataToken, fields, one) for one in self._words(condition)]
            return [_in_table(_table(meant.kind), fields, _range(meant.kind, condition, index=True))]
        except ValueError as error:
            raise InvalidInput(f"{_location(condition)}: {error}") from error

    def _in_use(self, meant: MetadataFieldRef) -> bool:
        """Whether any image that is searched has the field."""
        types = [stored for type in meant.types for stored in INDEXED_TYPES.get(type, (type,))]
        fields = [self.ids[meant.name, type] for type in types if (meant.name, type) in self.ids]
        rows = _table(meant.kind).objects.filter(field__in=fields)  # type: ignore[attr-defined]
        return bool(fields) and bool(rows.filter(image__tombstone__isnull=not self.in_trash).exists())

    def _words(self, condition: Condition) -> list[Sought]:
        """Each word that has to be there; the last one of a beginning may go on."""
        match condition.value:
            case Equals(text):
                found = [one for word in words(text) for one in self._word(word)]
            case Phrase(text):
                found = self._phrase(text)
            case Prefix(text):
                *whole, last = words(text) or [""]
                found = [one for word in whole for one in self._word(word)]
                if last:
                    found += self._word(last) if is_unspaced(last) else [_prefix_range(without_accents(last))]
            case _:
                raise ValueError("its words are looked for, not ranges of them.")
        if not found:
            raise ValueError("there is no word to look for.")
        found = list(dict.fromkeys(found))
        self.words += len(found)
        if self.words > MAX_WORDS:
            raise ValueError(f"the search is for more than {MAX_WORDS} words.")
        return found

    def _word(self, word: str) -> list[Sought]:
        if is_unspaced(word):
            return [exact_interval(pair) for pair in bigrams(word)[:-1]] or [_prefix_range(word)]
        alike = forms(word, self.language)
        return [exact_interval(alike[0]) if len(alike) == 1 else OneOf(alike)]

    def _phrase(self, text: str) -> list[Sought]:
        """Pairs of neighbors; the words themselves where there are none, and runs of scripts without spaces."""
        pairs = list(neighbors(text, self.language))
        alone = [word for word in words(text) if not pairs or is_unspaced(word)]
        if 0 < len(pairs) < len(words(text)) - 1:  # scripts are mixed: some words may have no neighbor
            alone = words(text)
        return [exact_interval(pair) for pair in pairs] + [one for word in alone for one in self._word(word)]

    def _near(self, meant: MetadataFieldRef, condition: Condition) -> QuerySet[Anything]:
        latitudes, longitudes = (self.ids.get((meant.name, type)) for type in INDEXED_TYPES["latlon"])
        match condition.value:
            case Within(latitude, longitude, metres):
                if not (abs(latitude) <= 90 and abs(longitude) <= 180):
                    raise ValueError("the latitude must be within ±90 and the longitude within ±180.")
            case Equals(text) if text.count(",") == 1:
                latitude, longitude = map(_number, text.split(","))
                metres = 0.0
            case _:
                raise ValueError("ask for a place and a distance, like 47.38,8.52~10km.")
        if latitudes is None or longitudes is None:
            return MetadataNumber.objects.none()
        return _within_distance(latitudes, longitudes, float(latitude), float(longitude), metres)


def _recheck_long_text(meant: MetadataFieldRef, condition: Condition) -> Exact | None:
    """The comparison with the document that a long text needs; elements of arrays are compared by their beginning."""
    document, _, name = meant.name.partition(":")
    if meant.kind is not Kind.TEXT or not isinstance(condition.value, Equals) or document != "user":
        return None
    text = nfc(condition.value.text)
    return Exact(KeyTextTransform(name, "user_metadata"), Value(text)) if truncate_bytes(text) != text else None


def _check_name(condition: Condition, in_trash: bool) -> None:
    try:
        field(condition.field, in_trash=in_trash)
    except InvalidInput as error:
        raise InvalidInput(f"{_location(condition)}: {error.message}") from error


def _location(condition: Condition) -> str:
    return f"at position {condition.position}, {condition.field!r}" if condition.position else condition.field


def _table(kind: Kind) -> type[MetadataIndexEntry]:
    match kind:
        case Kind.TEXT:
            return MetadataString
        case Kind.WORDS:
            return MetadataToken
    return MetadataNumber


def _in_table(table: type[MetadataIndexEntry], fields: list[int], values: Sought) -> QuerySet[Anything]:
    one_or_all = Q(field=fields[0]) if len(fields) == 1 else Q(field__in=fields)
    return table.objects.filter(values.condition("value"), one_or_all)  # type: ignore[attr-defined, no-any-return]


def _and(parts: list[Q]) -> Q:
    found = Q()
    for part in parts:
        found &= part
    return found


def _or(parts: list[Q]) -> Q:
    if any(not part for part in parts):
        return Q()  # one of them holds for all
    found = Q()
    for part in parts:
        found |= part
    return found


def _within_distance(
    latitudes: int, longitudes: int, latitude: float, longitude: float, metres: float
) -> QuerySet[Anything]:
    """Rows of latitudes whose place is near enough: by a box, which the index serves, then by the great circle."""
    reach = math.degrees(metres / EARTH_RADIUS_M) + 1e-9
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
    distance = ExpressionWrapper(Value(2 * EARTH_RADIUS_M) * ASin(Sqrt(half_chord)), output_field=FloatField())
    return rows.filter(longitude__isnull=False).annotate(distance=distance).filter(distance__lte=metres + 0.01)


# --- Values as their field compares them ------------------------------------------------------------------------------


def _range(kind: Kind, condition: Condition, *, index: bool = False) -> Interval:
    read = READERS[kind]
    match condition.value:
        case Equals(text) | Phrase(text):
            return _equal(kind, read(text), index)
        case Prefix(text):
            if kind is not Kind.TEXT:
                raise ValueError("only texts have a beginning; ask for a range.")
            return _prefix_range(truncate_bytes(read(text)) if index else read(text))
        case Range(low, high, with_low, with_high):
            if kind is Kind.BOOLEAN:
                raise ValueError("it is true or false.")
            ends = [None if end is None else read(end) for end in (low, high)]
            if kind is Kind.DATETIME:
                return _between_periods(ends[0], ends[1], with_low, with_high, index)
            if kind is Kind.TEXT and index:
                ends = [None if end is None else truncate_bytes(end) for end in ends]
            return Interval(ends[0], ends[1], with_low, with_high)
        case Within():
            raise ValueError("it is no place.")


def _equal(kind: Kind, value: Anything, index: bool) -> Interval:
    if kind is Kind.DATETIME:
        return _between_periods(value, value, True, True, index)
    return exact_interval(truncate_bytes(value) if kind is Kind.TEXT and index else value)


def _between_periods(low: Period | None, high: Period | None, with_low: bool, with_high: bool, index: bool) -> Interval:
    """From the start of the first period to the end of the last one, or without all of them."""
    start = low and (low.start if with_low else low.end)
    end = high and (high.end if with_high else high.start)
    if index:
        return Interval(start and start.timestamp(), end and end.timestamp(), with_high=False)
    return Interval(start, end, with_high=False)


def _prefix_range(text: str) -> Interval:
    return Interval(text, text + MAX_CHAR, with_high=False)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("it contains a NUL character.")
    return nfc(text)


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


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError("it is true or false.")
    return BOOLEANS[text.lower()]


READERS: dict[Kind, Callable[[str], Anything]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.DATETIME: period,
    Kind.BOOLEAN: _boolean,
}
