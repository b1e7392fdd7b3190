"""What staff ask the list of pictures for, as the parameters of the API that find the same pictures."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When
from django.http import QueryDict
from django.utils import timezone

from organizations.auth.staff import StaffAccess
from organizations.models import Organization
from organizations.permissions import Permission
from organizations.usage import counters
from rokka.core.errors import InvalidInput
from sourceimages.jobs.selection import Selection
from sourceimages.metadata.values import nfc
from sourceimages.models import HASH, SourceImage, SourceImageQuerySet, name_prefix
from sourceimages.search.pagination import PageRequest

PER_PAGE = 60
MAX_OFFSET_PAGING = 10_000  # pictures, up to which pages have numbers; behind them one goes on from picture to picture
COUNT_CAP = 10_000  # pictures that are counted before the page is shown
COUNTS_CACHE_SECONDS = 60  # seconds, for which counts of filters are true enough
PLAIN_WORDS = re.compile(r"[^\s()\[\]{}\"'*:]+(\s+[^\s()\[\]{}\"'*:]+)*\Z")  # words, without anything of the language
OPERATORS = {"AND", "OR", "NOT"}
MIN_HASH_PREFIX = 6


class Bucket(NamedTuple):
    """A range of a filter: `low` is in it, `high` is not."""

    label: str
    low: int | None
    high: int | None


SIZE_BUCKETS = {  # bytes
    "tiny": Bucket("below 100 kB", None, 100_000),
    "small": Bucket("100 kB to 1 MB", 100_000, 1_000_000),
    "medium": Bucket("1 to 10 MB", 1_000_000, 10_000_000),
    "large": Bucket("10 MB and more", 10_000_000, None),
}
AGE_BUCKETS = {  # hours
    "day": Bucket("last 24 hours", None, 24),
    "week": Bucket("a day to a week ago", 24, 7 * 24),
    "month": Bucket("a week to a month ago", 7 * 24, 30 * 24),
    "year": Bucket("a month to a year ago", 30 * 24, 365 * 24),
    "older": Bucket("longer ago", 365 * 24, None),
}
STATES = {"": "living", "locked": "locked", "protected": "protected", "trash": "in the trash"}
SORTS = {
    "": "newest first",
    "created asc": "oldest first",
    "name asc": "by name",
    "size desc": "largest first",
    "size asc": "smallest first",
}
TRASH_SORTS = {"deletedDate desc": "deleted last", "": "newest first", "name asc": "by name"}
VIEWS = ("grid", "table")


@dataclass(frozen=True, slots=True)
class FilterChoice:
    """A filter with the values that it may have, and what each is called."""

    name: str
    label: str
    values: dict[str, str]
    chosen: str


@dataclass(frozen=True)
class Listing:
    """A list of pictures, of one organization or, found by less, of all that the person may see."""

    staff: StaffAccess
    organization: Organization | None
    parameters: QueryDict

    def get(self, name: str, known: Iterable[str] | None = None) -> str:
        value = str(self.parameters.get(name, ""))
        if known is not None and value not in known and value:
            raise InvalidInput(f"{name}: {value[:80]!r} is none of {', '.join(filter(None, known))}.")
        return value

    def without_invalid_filters(self) -> "Listing":
        """The same without values that filters do not know; what was typed stays."""
        kept = self.parameters.copy()
        filters: dict[str, Iterable[str]] = {"state": STATES, "size": SIZE_BUCKETS, "age": AGE_BUCKETS}
        for name, known in filters.items():
            if kept.get(name) not in list(known):
                kept.pop(name, None)
        return Listing(self.staff, self.organization, kept)

    def check(self) -> None:
        """Raises Invalid for a value that no filter has, before a page is made of it."""
        _ = self.search

    @cached_property
    def in_trash(self) -> bool:
        return self.get("state", STATES) == "trash"

    @cached_property
    def sorts(self) -> dict[str, str]:
        return TRASH_SORTS if self.in_trash else SORTS

    @cached_property
    def sort(self) -> str:
        """What is sorted by; the trash shows first what was deleted last."""
        if "sort" not in self.parameters:
            return next(iter(self.sorts))
        return self.get("sort") if self.get("sort") in self.sorts else next(iter(self.sorts))

    @cached_property
    def search(self) -> str:
        """The parameters that find these pictures, as the API takes them; moments in them are those of this page."""
        now = timezone.now().replace(second=0, microsecond=0)
        found = {"q": expand_query(self.get("q")), "format": self.get("format")}
        if state := self.get("state", STATES):
            found |= {state: "true"} if state != "trash" else {}
        if size := self.get("size", SIZE_BUCKETS):
            found["size"] = _range(SIZE_BUCKETS[size].low, SIZE_BUCKETS[size].high)
        if age := self.get("age", AGE_BUCKETS):
            found["created"] = _range(_cutoff(now, AGE_BUCKETS[age].high), _cutoff(now, AGE_BUCKETS[age].low))
        return urlencode({name: value for name, value in found.items() if value})

    @property
    def selection(self) -> Selection:
        assert self.organization is not None  # noqa: S101 (asked for one organization only)
        return Selection(self.organization, in_trash=self.in_trash, search=self.search, for_list=True)

    @cached_property
    def images(self) -> SourceImageQuerySet:
        if self.organization is not None:
            return self.selection.images()
        found = SourceImage.objects.in_trash() if self.in_trash else SourceImage.objects.active()
        if not self.staff.superuser:
            found = found.filter(organization__in=self.staff.organization_ids_with(Permission.IMAGES_READ))
        if text := self.get("q").strip():
            if len(text) >= MIN_HASH_PREFIX and HASH.match(text):
                return found.filter(Q(hash=text) | Q(short_hash=text) | Q(binary_hash=text))
            return found.filter(name_prefix(nfc(text)))
        return found

    @property
    def notice(self) -> str:
        """Where and why what was typed is not a query, and was read as words."""
        return self.selection.notice if self.organization is not None and self.get("q") else ""

    def page(self) -> "Page":
        images = self.images.select_related("organization", "file", "tombstone")
        offset = self.get("offset")
        if self.organization is None:
            return self._page_of_all(images, offset)
        request = PageRequest.read(
            {"limit": str(PER_PAGE), "offset": offset, "sort": self.sort}, self.organization, in_trash=self.in_trash
        )
        found = request.page(images, self.organization, "", QueryDict())
        number = request.offset or 0
        onward = (number + PER_PAGE if number < MAX_OFFSET_PAGING and not request.cursor else found.cursor) or ""
        return Page(
            found.items,
            previous=self.url(offset=max(0, number - PER_PAGE) or "") if number else "",
            next=self.url(offset=onward) if "next" in found.links else "",
            first=self.url(offset="") if request.cursor else "",
        )

    def _page_of_all(self, images: QuerySet[SourceImage], offset: str) -> "Page":
        """Newest first by id, which has an index without an organization."""
        images = images.order_by("-id")
        if offset.isdecimal():
            images = images.filter(id__lt=min(int(offset), 2**63 - 1))
        items = list(images[: PER_PAGE + 1])
        more = len(items) > PER_PAGE
        items = items[:PER_PAGE]
        after = self.url(offset=items[-1].pk) if more else ""
        return Page(items, previous="", next=after, first=self.url(offset="") if offset else "")

    @property
    def is_filtered(self) -> bool:
        return bool(self.search) or self.in_trash

    def total(self) -> str:
        """How many there are: exact where that is known, else as far as it was counted."""
        if self.organization is None:
            return ""
        if not self.is_filtered:
            return f"{counters.totals(self.organization).images:,}"
        count = self.images.order_by()[: COUNT_CAP + 1].count()
        return f"more than {COUNT_CAP:,}" if count > COUNT_CAP else f"{count:,}"

    def url(self, **changes: Any) -> str:
        """This list with other parameters. It starts at its first page, unless told where."""
        kept = self.parameters.dict() | {"offset": ""} | {name: str(value) for name, value in changes.items()}
        organization = {"organization": self.organization.name if self.organization else ""}
        shown = {name: value for name, value in kept.items() if value} | organization
        return "?" + urlencode(shown)

    # --- Filters ------------------------------------------------------------------------------------------------------

    def choices(self) -> list[FilterChoice]:
        """`counts` says how many pictures each value would find."""
        named = {
            "state": ("State", STATES),
            "format": ("Format", {"": "all"} | {one: one for one in settings.FORMATS}),
            "size": ("Size", {"": "all"} | {key: one.label for key, one in SIZE_BUCKETS.items()}),
            "age": ("Created", {"": "at any time"} | {key: one.label for key, one in AGE_BUCKETS.items()}),
            "sort": ("Order", self.sorts),
        }
        if self.organization is None:
            del named["format"], named["size"], named["age"], named["sort"]
            named["state"] = ("State", {"": "living", "trash": "in the trash"})
        chosen = {name: self.get(name) for name in named} | {"sort": self.sort}
        return [FilterChoice(name, label, values, chosen[name]) for name, (label, values) in named.items()]

    def facet_counts(self) -> dict[str, Any]:
        """How many of these pictures each value of each filter has, from one look at all of them."""
        assert self.organization is not None  # noqa: S101
        held = counters.totals(self.organization).images  # what comes or goes is counted at once
        asked = sha256(f"{self.organization.pk} {held} {self.in_trash} {self.search}".encode()).hexdigest()
        key = f"backoffice.counts.{asked}"
        if (known := cache.get(key)) is None:
            cache.set(key, known := self._facet_counts(), COUNTS_CACHE_SECONDS)
        return known  # type: ignore[no-any-return]

    def _facet_counts(self) -> dict[str, Any]:
        now = timezone.now()
        rows = (
            self.images.order_by()
            .annotate(
                size_class=_bucket_expression("size", {key: (one.low, one.high) for key, one in SIZE_BUCKETS.items()}),
                age_class=_bucket_expression(
                    "created",
                    {key: (_cutoff(now, one.high), _cutoff(now, one.low)) for key, one in AGE_BUCKETS.items()},
                ),
            )
            .values_list("format", "size_class", "age_class", "locked", "protected")
            .annotate(count=Count("pk"))
        )
        found: dict[str, dict[str, int]] = {"state": {}, "format": {}, "size": {}, "age": {}}
        sizes, ages, total = list(SIZE_BUCKETS), list(AGE_BUCKETS), 0
        for format, size, age, locked, protected, count in rows:
            total += count
            names = [("format", format), ("size", sizes[size]), ("age", ages[age])]
            names += [("state", "locked")] * locked + [("state", "protected")] * protected
            for name, value in names:
                found[name][value] = found[name].get(value, 0) + count
        assert self.organization is not None  # noqa: S101
        if not self.in_trash:
            found["state"][""] = total
        elif not self.search:
            found["state"][""] = counters.totals(self.organization).images
        found["state"].setdefault("trash", total if self.in_trash else self._in_trash())
        return {"total": total, "filters": found}

    def _in_trash(self) -> int:
        assert self.organization is not None  # noqa: S101
        found: QuerySet[SourceImage] = self.organization.images.in_trash()
        return found.order_by().count()


@dataclass(frozen=True, slots=True)
class Page:
    """Pictures, and the addresses of the pages around them; "" where there is none."""

    items: list[SourceImage]
    previous: str
    next: str
    first: str


def expand_query(text: str) -> str:
    """A hash finds its picture, and the last word of a few may go on; what is written in the language stays so."""
    text = text.strip()
    if len(text) >= MIN_HASH_PREFIX and HASH.match(text):
        return f"hash:{text} OR short_hash:{text} OR binaryhash:{text}"
    if PLAIN_WORDS.match(text) and OPERATORS.isdisjoint(text.upper().split()):
        *whole, last = text.split()
        if last.startswith("-"):  # excluded
            return text
        return " ".join([*whole, f"({last} OR {last}*)"])  # what begins so, and what has the same stem
    return text


def _range(low: Any, high: Any) -> str:
    return f"[{'' if low is None else _text(low)},{'' if high is None else _text(high)}" + "}"


def _text(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _cutoff(now: datetime, hours: int | None) -> datetime | None:
    return None if hours is None else now - timedelta(hours=hours)


def _bucket_expression(column: str, classes: dict[str, tuple[Any, Any]]) -> Case:
    """The number of the class that the column is in."""
    cases = []
    for number, (low, high) in enumerate(classes.values()):
        within = Q() if low is None else Q(**{f"{column}__gte": low})
        within &= Q() if high is None else Q(**{f"{column}__lt": high})
        cases.append(When(within, then=Value(number)))
    return Case(*cases, default=Value(len(classes) - 1), output_field=IntegerField())
