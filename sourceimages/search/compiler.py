"""Compile expressions to database conditions on columns and index rows.

Positive conditions become `IN (subquery)`, negated ones `NOT EXISTS`; see `lookups` for several of them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

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
from sourceimages.search import index_state, lookups
from sourceimages.search.ast import And, Condition, Equals, Expression, Not, Or, Phrase, Prefix, Range, Within
from sourceimages.search.cost import CONDITIONS, PROBED_FROM, VALUES_PER_IMAGE, Cost
from sourceimages.search.fields import INDEXED_TYPES, Column, Kind, MetadataFieldRef, field, fields
from sourceimages.search.lookups import Alternatives, AnyLookup, Interval, Lookup, OneOf, Rows, Values, exact_interval
from sourceimages.search.parser import conditions
from sourceimages.search.periods import Period, period

EARTH_RADIUS_M = 6_371_008.8  # mean radius (IUGG)
MAX_CHAR = chr(0x10FFFF)  # sorts after every character
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
SINGLE_VALUED = {("str",), ("int",), ("double",), ("date",)}  # types of which an image has one value per field
MAX_WORDS = 200  # of all conditions; each takes a subquery


class Filter:
    """Compiles an expression for one organization; all metadata fields are looked up with one query.

    `for_action`: the result is going to be changed, so negating a field that no image has is refused. `typed`: the
    expression is from `q`, where a name without `user:` must be a field of the organization, as "note: broken" is two
    words. Raises InvalidInput, or IndexNotReady if metadata is searched and the index is not current. `cost` is
    increased by the rows that the conditions read.
    """

    def __init__(
        self,
        organization: Organization,
        expression: Expression,
        *,
        in_trash: bool,
        for_action: bool = False,
        typed: bool = False,
        cost: Cost,
    ) -> None:
        self.organization, self.in_trash, self.for_action, self.cost = organization, in_trash, for_action, cost
        first = {one.field: one for one in reversed(list(conditions(expression)))}  # first condition of each field
        for one in first.values() if typed else ():
            _check_name(one, in_trash)
        self.fields = fields(organization, first, in_trash=in_trash)
        for name, field_ref in self.fields.items() if typed else ():
            if isinstance(field_ref, MetadataFieldRef) and not field_ref.used:
                raise InvalidInput(f"{_location(first[name])}: no image of {organization.name!r} has this field.")
        self.expression, self.words = expression, 0
        self._found_lookups: dict[Condition, list[AnyLookup]] = {}
        self._intersects, self._in_order = False, False
        names = {one.name for one in self.fields.values() if isinstance(one, MetadataFieldRef)}
        self.language = index_state.check_current(organization) if names else ""
        found = MetadataField.objects.filter(organization=organization, name__in=names) if names else ()
        self.ids: dict[tuple[str, str], int] = {(one.name, one.type): one.pk for one in found}

    def condition(self) -> Q:
        return self._all([self.expression], wanted=True, whole=True)

    def condition_in_order(self) -> Q | None:
        """The same condition for the first images in an order if many match, if it differs. Call it after the other."""
        if not self._intersects:
            return None
        self._in_order, self.cost = True, Cost(self.organization)
        return self.condition()

    def _compiled(self, expression: Expression, *, wanted: bool) -> Q:
        """Compile the expression. `wanted` is False within an odd number of NOTs, which are pushed down (De Morgan)."""
        match expression:
            case Not(part):
                return self._compiled(part, wanted=not wanted)
            case And(parts) | Or(parts) if isinstance(expression, And) == wanted:
                return self._all(parts, wanted=wanted)
            case Or() if wanted and (alternatives := self._alternatives(expression)):
                return self._found([alternatives], whole=False)
            case And(parts) | Or(parts):
                return _or([self._compiled(part, wanted=wanted) for part in parts])
            case Condition():
                return self._all([expression], wanted=wanted)

    def _all(self, parts: Iterable[Expression], *, wanted: bool, whole: bool = False) -> Q:
        """All parts, or none of them. Their lookups in the index are combined. `whole`: images must match it."""
        found: list[Alternatives] = []
        excluded: list[AnyLookup] = []
        others: list[Q] = []
        for part in _flat(parts, And if wanted else Or):
            rows = self._lookups(part) if isinstance(part, Condition) else None
            if wanted and rows is not None:
                found += [(one,) for one in rows]
            elif wanted and isinstance(part, Or) and (alternatives := self._alternatives(part)):
                found.append(alternatives)
            elif isinstance(part, Condition) and rows is not None:
                self._check_negation(part)
                if len(rows) == 1:
                    excluded += rows
                else:  # not all of the words
                    others.append(_or([self._without([one]) for one in rows]))
            elif isinstance(part, Condition):
                others.append(self._condition(part, wanted))
            else:
                others.append(self._compiled(part, wanted=wanted))
        if found:
            others.append(self._found(found, whole=whole))
        if excluded:
            others.append(self._without(excluded))
        return _and(others)

    def _alternatives(self, expression: Or) -> Alternatives | None:
        """Alternatives that are one lookup each: one UNION subquery. An OR of subqueries would test every image."""
        found: list[AnyLookup] = []
        for part in _flat(expression.parts, Or):
            rows = self._lookups(part) if isinstance(part, Condition) else None
            if rows is None or len(rows) > 1:
                return None
            found += rows
        return lookups.any_of(found)

    def _found(self, conditions: Sequence[Alternatives], *, whole: bool) -> Q:
        """Images that all conditions find. Rows are counted if there can be many."""
        conditions = lookups.simplify(conditions)
        if self._in_order:
            return lookups.joined(conditions)
        counts, images = None, self.cost.images
        if len(conditions) > lookups.PLANNED or images * len(conditions) > PROBED_FROM:
            counts = lookups.count(conditions)
        for number, alternatives in enumerate(conditions):
            if counts is not None and counts[number] <= lookups.MANY:
                rows = counts[number]
            else:
                rows = sum(images * (1 if one.single else VALUES_PER_IMAGE) for one in alternatives)
            self.cost.rows[CONDITIONS] += rows
            if whole:
                self.cost.matching = min(self.cost.matching, rows)
        if counts is None or len(conditions) <= lookups.PLANNED:
            return lookups.joined(conditions)
        self._intersects |= min(counts) > lookups.MANY
        return lookups.all_of(conditions, counts)

    def _without(self, excluded: Sequence[AnyLookup]) -> Q:
        """Images that none of the lookups finds: a NOT EXISTS for each table, whatever the number of lookups."""
        by_table: dict[type[MetadataIndexEntry], Q] = {}
        found = Q()
        for one in lookups.any_of(excluded):
            self.cost.rows[CONDITIONS] += self.cost.images
            if isinstance(one, Lookup):
                by_table[one.table] = by_table.get(one.table, Q()) | one.condition()
            else:
                found &= ~Q(Exists(one.rows().filter(image=OuterRef("pk"))))
        for table, condition in by_table.items():
            rows = table.objects.filter(condition, image=OuterRef("pk"))  # type: ignore[attr-defined]
            found &= ~Q(Exists(rows))
        return found

    def _condition(self, condition: Condition, wanted: bool) -> Q:
        """A condition on a column, or on a text that is longer than the index has it."""
        field_ref = self.fields[condition.field]
        if isinstance(field_ref, Column):
            try:
                found = _range(field_ref.kind, condition).condition(field_ref.column)
            except ValueError as error:
                raise InvalidInput(f"{_location(condition)}: {error}") from error
            return found if wanted else (~found if found else Q(pk__in=[]))
        if not wanted:
            self._check_negation(condition)
        whole = _recheck_long_text(field_ref, condition)
        self.cost.rows[CONDITIONS] += self.cost.images
        found = Q(whole, pk__in=self._rows(field_ref, condition)[0].rows().values("image"))
        return found if wanted else ~found

    def _check_negation(self, condition: Condition) -> None:
        field_ref = self.fields[condition.field]
        if self.for_action and isinstance(field_ref, MetadataFieldRef) and not self._in_use(field_ref):
            raise InvalidFilter(
                f"{condition.field}: no image has this field, so that negating it would select all of them. "
                f"Check the name and type of the field."
            )

    def _lookups(self, condition: Condition) -> list[AnyLookup] | None:
        """Index lookups; a matching image has a row in each of them. None if they don't decide the condition."""
        field_ref = self.fields[condition.field]
        if isinstance(field_ref, Column) or _recheck_long_text(field_ref, condition) is not None:
            return None
        if condition not in self._found_lookups:
            self._found_lookups[condition] = self._rows(field_ref, condition)
        return self._found_lookups[condition]

    def _rows(self, field_ref: MetadataFieldRef, condition: Condition) -> list[AnyLookup]:
        try:
            if field_ref.kind is Kind.LOCATION:
                return [Rows(self._near(field_ref, condition))]
            fields = tuple(
                self.ids[field_ref.name, type] for type in field_ref.types if (field_ref.name, type) in self.ids
            )
            if field_ref.kind is Kind.WORDS:
                return [Lookup(MetadataToken, fields, one) for one in self._words(condition)]
            values = _range(field_ref.kind, condition, index=True)
            single = field_ref.types in SINGLE_VALUED
            return [Lookup.of(_table(field_ref.kind), fields, values, single=single)]
        except ValueError as error:
            raise InvalidInput(f"{_location(condition)}: {error}") from error

    def _in_use(self, field_ref: MetadataFieldRef) -> bool:
        """Return whether any searched image has the field."""
        types = [stored for type in field_ref.types for stored in INDEXED_TYPES.get(type, (type,))]
        fields = [self.ids[field_ref.name, type] for type in types if (field_ref.name, type) in self.ids]
        rows = _table(field_ref.kind).objects.filter(field__in=fields)  # type: ignore[attr-defined]
        return bool(fields) and bool(rows.filter(image__tombstone__isnull=not self.in_trash).exists())

    def _words(self, condition: Condition) -> list[Values]:
        """The words to find; the last word of a Prefix matches longer words."""
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
                raise ValueError("ranges are not supported for words.")
        if not found:
            raise ValueError("there are no words to search for.")
        found = list(dict.fromkeys(found))
        self.words += len(found)
        if self.words > MAX_WORDS:
            raise ValueError(f"the search has more than {MAX_WORDS} words.")
        return found

    def _word(self, word: str) -> list[Values]:
        if is_unspaced(word):
            return [exact_interval(pair) for pair in bigrams(word)[:-1]] or [_prefix_range(word)]
        stems = forms(word, self.language)
        return [exact_interval(stems[0]) if len(stems) == 1 else OneOf(stems)]

    def _phrase(self, text: str) -> list[Values]:
        """Pairs of adjacent words; single words if there are no pairs, and runs of scripts without spaces."""
        pairs = list(neighbors(text, self.language))
        single_words = [word for word in words(text) if not pairs or is_unspaced(word)]
        if 0 < len(pairs) < len(words(text)) - 1:  # mixed scripts: some words may not be part of a pair
            single_words = words(text)
        return [exact_interval(pair) for pair in pairs] + [one for word in single_words for one in self._word(word)]

    def _near(self, field_ref: MetadataFieldRef, condition: Condition) -> QuerySet[Any]:
        latitudes, longitudes = (self.ids.get((field_ref.name, type)) for type in INDEXED_TYPES["latlon"])
        match condition.value:
            case Within(latitude, longitude, meters):
                if not (abs(latitude) <= 90 and abs(longitude) <= 180):
                    raise ValueError("latitude must be from -90 to 90 and longitude from -180 to 180.")
            case Equals(text) if text.count(",") == 1:
                latitude, longitude = map(_number, text.split(","))
                meters = 0.0
            case _:
                raise ValueError("must be a location and a distance, like 47.38,8.52~10km.")
        if latitudes is None or longitudes is None:
            return MetadataNumber.objects.none()
        return _within_distance(latitudes, longitudes, float(latitude), float(longitude), meters)


def _recheck_long_text(field_ref: MetadataFieldRef, condition: Condition) -> Exact | None:
    """The comparison with the stored value that long texts need; array elements are compared by their start only."""
    document, _, name = field_ref.name.partition(":")
    if field_ref.kind is not Kind.TEXT or not isinstance(condition.value, Equals) or document != "user":
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


def _flat(parts: Iterable[Expression], kind: type[And | Or]) -> Iterator[Expression]:
    """The parts, with those of nested expressions of the same kind."""
    for part in parts:
        if isinstance(part, kind):
            yield from _flat(part.parts, kind)
        else:
            yield part


def _and(parts: list[Q]) -> Q:
    found = Q()
    for part in parts:
        found &= part
    return found


def _or(parts: list[Q]) -> Q:
    if any(not part for part in parts):
        return Q()  # one of them matches all images
    found = Q()
    for part in parts:
        found |= part
    return found


def _within_distance(
    latitudes: int, longitudes: int, latitude: float, longitude: float, meters: float
) -> QuerySet[Any]:
    """Latitude rows within the distance: prefiltered by an indexed bounding box, then by great-circle distance."""
    reach = math.degrees(meters / EARTH_RADIUS_M) + 1e-9
    south, north = latitude - reach, latitude + reach
    rows = MetadataNumber.objects.filter(field=latitudes, value__gte=south, value__lte=north)
    longitude_rows = MetadataNumber.objects.filter(field=longitudes, image=OuterRef("image"))
    if abs(latitude) + reach < 90:
        breadth = reach / math.cos(math.radians(max(abs(south), abs(north))))
        if abs(longitude) + breadth < 180:  # the box must not cross the antimeridian
            longitude_rows = longitude_rows.filter(value__gte=longitude - breadth, value__lte=longitude + breadth)
    rows = rows.annotate(longitude=Subquery(longitude_rows.values("value")[:1], output_field=FloatField()))
    half_chord = Power(Sin(Radians(F("value") - latitude) / 2.0), 2) + Cos(Radians(F("value"))) * math.cos(
        math.radians(latitude)
    ) * Power(Sin(Radians(F("longitude") - longitude) / 2.0), 2)
    distance = ExpressionWrapper(Value(2 * EARTH_RADIUS_M) * ASin(Sqrt(half_chord)), output_field=FloatField())
    return rows.filter(longitude__isnull=False).annotate(distance=distance).filter(distance__lte=meters + 0.01)


# --- Values in the type of their field --------------------------------------------------------------------------------


def _range(kind: Kind, condition: Condition, *, index: bool = False) -> Interval:
    parse = PARSERS[kind]
    match condition.value:
        case Equals(text) | Phrase(text):
            return _equal(kind, parse(text), index)
        case Prefix(text):
            if kind is not Kind.TEXT:
                raise ValueError("prefixes are only supported for texts. Use a range.")
            return _prefix_range(truncate_bytes(parse(text)) if index else parse(text))
        case Range(low, high, include_low, include_high):
            if kind is Kind.BOOLEAN:
                raise ValueError("must be true or false; ranges are not supported.")
            ends = [None if end is None else parse(end) for end in (low, high)]
            if kind is Kind.DATETIME:
                return _between_periods(ends[0], ends[1], include_low, include_high, index)
            if kind is Kind.TEXT and index:
                ends = [None if end is None else truncate_bytes(end) for end in ends]
            return Interval(ends[0], ends[1], include_low, include_high)
        case Within():
            raise ValueError("ranges and prefixes are not supported for locations.")


def _equal(kind: Kind, value: Any, index: bool) -> Interval:
    if kind is Kind.DATETIME:
        return _between_periods(value, value, True, True, index)
    return exact_interval(truncate_bytes(value) if kind is Kind.TEXT and index else value)


def _between_periods(
    low: Period | None, high: Period | None, include_low: bool, include_high: bool, index: bool
) -> Interval:
    """From the start of the first period to the end of the last one, without the periods of excluded bounds."""
    start = low and (low.start if include_low else low.end)
    end = high and (high.end if include_high else high.start)
    if index:
        return Interval(start and start.timestamp(), end and end.timestamp(), include_high=False)
    return Interval(start, end, include_high=False)


def _prefix_range(text: str) -> Interval:
    return Interval(text, text + MAX_CHAR, include_high=False)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters.")
    return nfc(text)


def _number(text: str) -> float | int:
    try:
        number = int(text)
    except ValueError:
        try:
            real = float(text)
        except ValueError:
            raise ValueError(f"{text[:40]!r} is not a number.") from None
        if not math.isfinite(real):
            raise ValueError(f"{text[:40]!r} is not a finite number.") from None
        return real
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{text[:40]!r} does not fit into 64 bits.")
    return number


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError("must be true or false.")
    return BOOLEANS[text.lower()]


PARSERS: dict[Kind, Callable[[str], Any]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.DATETIME: period,
    Kind.BOOLEAN: _boolean,
}
