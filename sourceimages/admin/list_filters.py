"""Filters, sorting and paging of the list of images, translated to the search parameters of the API."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from sourceimages.search import Cost, read
from sourceimages.search.pagination import PageRequest

PER_PAGE = 60
MAX_OFFSET_PAGING = 10_000  # images; later pages use cursors, as large offsets are slow
COUNT_CAP = 10_000  # images counted for the page; the exact total is loaded later
COUNTS_CACHE_SECONDS = 60
PLAIN_WORDS = re.compile(r"[^\s()\[\]{}\"'*:]+(\s+[^\s()\[\]{}\"'*:]+)*\Z")  # words without query syntax
OPERATORS = {"AND", "OR", "NOT"}
MIN_HASH_PREFIX = 6


class Bucket(NamedTuple):
    """A half-open range of a filter: from `low`, below `high`; None means unbounded."""

    label: str
    low: int | None
    high: int | None


SIZE_BUCKETS = {  # bytes
    "tiny": Bucket("under 100 kB", None, 100_000),
    "small": Bucket("100 kB to 1 MB", 100_000, 1_000_000),
    "medium": Bucket("1 to 10 MB", 1_000_000, 10_000_000),
    "large": Bucket("10 MB or more", 10_000_000, None),
}
AGE_BUCKETS = {  # hours
    "day": Bucket("last 24 hours", None, 24),
    "week": Bucket("1–7 days ago", 24, 7 * 24),
    "month": Bucket("7–30 days ago", 7 * 24, 30 * 24),
    "year": Bucket("30–365 days ago", 30 * 24, 365 * 24),
    "older": Bucket("over a year ago", 365 * 24, None),
}
STATES = {"": "active", "locked": "locked", "protected": "protected", "trash": "in the trash"}
SORTS = {
    "": "Newest",
    "created asc": "Oldest",
    "name asc": "Name",
    "size desc": "Largest",
    "size asc": "Smallest",
}
TRASH_SORTS = {"deletedDate desc": "Recently deleted", "": "Newest", "name asc": "Name"}
VIEWS = ("grid", "table")


@dataclass(frozen=True, slots=True)
class FilterChoice:
    """A filter with its values and their labels."""

    name: str
    label: str
    values: dict[str, str]
    selected: str


@dataclass(frozen=True)
class Listing:
    """A filtered list of images of one organization, or of all organizations that the user can view.

    Without an organization, images can be filtered by state, and searched by hash and filename prefix only.
    """

    staff: StaffAccess
    organization: Organization | None
    parameters: QueryDict

    def get(self, name: str, known: Iterable[str] | None = None) -> str:
        """Return the value of a parameter, "" by default. Raises InvalidInput for a value that is not `known`."""
        value = str(self.parameters.get(name, ""))
        if known is not None and value not in known and value:
            raise InvalidInput(f"{name}: {value[:80]!r} is not a valid value. Use {', '.join(filter(None, known))}.")
        return value

    def without_invalid_filters(self) -> "Listing":
        """Return the same list without invalid values of filters; the search text stays."""
        parameters = self.parameters.copy()
        filters: dict[str, Iterable[str]] = {"state": STATES, "size": SIZE_BUCKETS, "age": AGE_BUCKETS}
        for name, known in filters.items():
            if parameters.get(name) not in list(known):
                parameters.pop(name, None)
        return Listing(self.staff, self.organization, parameters)

    def check(self) -> None:
        """Raises InvalidInput for an invalid value of a filter."""
        _ = self.search

    @cached_property
    def in_trash(self) -> bool:
        return self.get("state", STATES) == "trash"

    @cached_property
    def sorts(self) -> dict[str, str]:
        return TRASH_SORTS if self.in_trash else SORTS

    @cached_property
    def sort(self) -> str:
        """Return the sort parameter. By default, the trash shows recently deleted images first."""
        if "sort" not in self.parameters:
            return next(iter(self.sorts))
        return self.get("sort") if self.get("sort") in self.sorts else next(iter(self.sorts))

    @cached_property
    def search(self) -> str:
        """Return the search parameters of the API, URL-encoded. Ages are relative to the current minute."""
        now = timezone.now().replace(second=0, microsecond=0)
        parameters = {"q": expand_query(self.get("q")), "format": self.get("format")}
        if state := self.get("state", STATES):
            parameters |= {state: "true"} if state != "trash" else {}
        if size := self.get("size", SIZE_BUCKETS):
            parameters["size"] = _range(SIZE_BUCKETS[size].low, SIZE_BUCKETS[size].high)
        if age := self.get("age", AGE_BUCKETS):
            parameters["created"] = _range(_cutoff(now, AGE_BUCKETS[age].high), _cutoff(now, AGE_BUCKETS[age].low))
        return urlencode({name: value for name, value in parameters.items() if value})

    @property
    def selection(self) -> Selection:
        assert self.organization is not None  # noqa: S101 (only used for one organization)
        return Selection(self.organization, in_trash=self.in_trash, search=self.search, for_list=True)

    @cached_property
    def images(self) -> SourceImageQuerySet:
        if self.organization is not None:
            return self.selection.images()
        images = SourceImage.objects.in_trash() if self.in_trash else SourceImage.objects.active()
        if not self.staff.superuser:
            images = images.filter(organization__in=self.staff.organization_ids_with(Permission.IMAGES_READ))
        if text := self.get("q").strip():
            if len(text) >= MIN_HASH_PREFIX and HASH.match(text):
                return images.filter(Q(hash=text) | Q(short_hash=text) | Q(binary_hash=text))
            return images.filter(name_prefix(nfc(text)))
        return images

    @property
    def notice(self) -> str:
        """Return why the search text is not a valid query and is read as words; "" if it is valid."""
        return self.selection.notice if self.organization is not None and self.get("q") else ""

    @contextmanager
    def running(self, *, counts: bool = False) -> Iterator[None]:
        """Search in the block within the limits of expensive searches, those of a user together.

        `counts`: images are counted exactly, for filters. Raises InvalidInput, IndexNotReady, SearchTooExpensive,
        TooManySearches.
        """
        if self.organization is None or not (counts or self.is_filtered):
            yield
            return
        key, query = f"staff:{self.staff.user.pk}", QueryDict(self.search)
        cost = Cost(self.organization, in_trash=self.in_trash)
        with cost.counted(key, query):
            read(self.organization, query, in_trash=self.in_trash, cost=cost)
        if counts:
            cost.add_total()
        with cost.running(key):
            yield

    def page(self) -> "Page":
        images = self.images.select_related("organization", "file", "tombstone")
        offset = self.get("offset")
        if self.organization is None:
            return self._page_of_all(images, offset)
        request = PageRequest.read(
            {"limit": str(PER_PAGE), "offset": offset, "sort": self.sort}, self.organization, in_trash=self.in_trash
        )
        result = request.page(images, self.organization, "", QueryDict())
        number = request.offset or 0
        next_offset = (number + PER_PAGE if number < MAX_OFFSET_PAGING and not request.cursor else result.cursor) or ""
        return Page(
            result.items,
            previous=self.url(offset=max(0, number - PER_PAGE) or "") if number else "",
            next=self.url(offset=next_offset) if "next" in result.links else "",
            first=self.url(offset="") if request.cursor else "",
        )

    def _page_of_all(self, images: QuerySet[SourceImage], offset: str) -> "Page":
        """Return a page of all organizations, newest first by ID: the only order with an index across organizations."""
        images = images.order_by("-id")
        if offset.isdecimal():
            images = images.filter(id__lt=min(int(offset), 2**63 - 1))
        items = list(images[: PER_PAGE + 1])
        has_next = len(items) > PER_PAGE
        items = items[:PER_PAGE]
        next_url = self.url(offset=items[-1].pk) if has_next else ""
        return Page(items, previous="", next=next_url, first=self.url(offset="") if offset else "")

    @property
    def is_filtered(self) -> bool:
        return bool(self.search) or self.in_trash

    def total(self) -> str:
        """Return the number of images, such as "1,234" or "more than 10,000"; "" for all organizations."""
        if self.organization is None:
            return ""
        if not self.is_filtered:
            return f"{counters.totals(self.organization).images:,}"
        count = self.images.order_by()[: COUNT_CAP + 1].count()
        return f"more than {COUNT_CAP:,}" if count > COUNT_CAP else f"{count:,}"

    def url(self, **changes: Any) -> str:
        """Return the URL of this list with changed parameters; of its first page, unless `offset` is given."""
        parameters = self.parameters.dict() | {"offset": ""} | {name: str(value) for name, value in changes.items()}
        organization = {"organization": self.organization.name if self.organization else ""}
        return "?" + urlencode({name: value for name, value in parameters.items() if value} | organization)

    # --- Filters ------------------------------------------------------------------------------------------------------

    def choices(self) -> list[FilterChoice]:
        """Return the filters of this list; `facet_counts` has the number of images of each value."""
        filters = {
            "state": ("Status", STATES),
            "format": ("Format", {"": "all"} | {format: format for format in settings.FORMATS}),
            "size": ("Size", {"": "all"} | {key: bucket.label for key, bucket in SIZE_BUCKETS.items()}),
            "age": ("Uploaded", {"": "any time"} | {key: bucket.label for key, bucket in AGE_BUCKETS.items()}),
            "sort": ("Sort", self.sorts),
        }
        if self.organization is None:
            del filters["format"], filters["size"], filters["age"], filters["sort"]
            filters["state"] = ("Status", {"": "active", "trash": "in the trash"})
        selected = {name: self.get(name) for name in filters} | {"sort": self.sort}
        return [FilterChoice(name, label, values, selected[name]) for name, (label, values) in filters.items()]

    def facet_counts(self) -> dict[str, Any]:
        """Return the number of images of each value of each filter. Cached until images are added or removed."""
        assert self.organization is not None  # noqa: S101
        count = counters.totals(self.organization).images  # in the key, so that changes show up at once
        digest = sha256(f"{self.organization.pk} {count} {self.in_trash} {self.search}".encode()).hexdigest()
        key = f"admin.counts.{digest}"
        if (counts := cache.get(key)) is None:
            with self.running(counts=True):
                counts = self._facet_counts()
            cache.set(key, counts, COUNTS_CACHE_SECONDS)
        return counts  # type: ignore[no-any-return]

    def _facet_counts(self) -> dict[str, Any]:
        now = timezone.now()
        rows = (
            self.images.order_by()
            .annotate(
                size_bucket=_bucket_expression(
                    "size", {key: (bucket.low, bucket.high) for key, bucket in SIZE_BUCKETS.items()}
                ),
                age_bucket=_bucket_expression(
                    "created",
                    {key: (_cutoff(now, bucket.high), _cutoff(now, bucket.low)) for key, bucket in AGE_BUCKETS.items()},
                ),
            )
            .values_list("format", "size_bucket", "age_bucket", "locked", "protected")
            .annotate(count=Count("pk"))
        )
        counts: dict[str, dict[str, int]] = {"state": {}, "format": {}, "size": {}, "age": {}}
        sizes, ages, total = list(SIZE_BUCKETS), list(AGE_BUCKETS), 0
        for format, size, age, locked, protected, count in rows:
            total += count
            names = [("format", format), ("size", sizes[size]), ("age", ages[age])]
            names += [("state", "locked")] * locked + [("state", "protected")] * protected
            for name, value in names:
                counts[name][value] = counts[name].get(value, 0) + count
        assert self.organization is not None  # noqa: S101
        if not self.in_trash:
            counts["state"][""] = total
        elif not self.search:
            counts["state"][""] = counters.totals(self.organization).images
        counts["state"].setdefault("trash", total if self.in_trash else self._in_trash())
        return {"total": total, "filters": counts}

    def _in_trash(self) -> int:
        assert self.organization is not None  # noqa: S101
        images: QuerySet[SourceImage] = self.organization.images.in_trash()
        return images.order_by().count()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of images, with the URLs of other pages; "" for a page that doesn't exist."""

    items: list[SourceImage]
    previous: str
    next: str
    first: str


def expand_query(text: str) -> str:
    """Turn a hash or plain words into a query; the last word also matches as a prefix. Queries are returned as is."""
    text = text.strip()
    if len(text) >= MIN_HASH_PREFIX and HASH.match(text):
        return f"hash:{text} OR short_hash:{text} OR binaryhash:{text}"
    if PLAIN_WORDS.match(text) and OPERATORS.isdisjoint(text.upper().split()):
        *words, last = text.split()
        if last.startswith("-"):  # excluded
            return text
        return " ".join([*words, f"({last} OR {last}*)"])  # the prefix, or a word with the same stem
    return text


def _range(low: Any, high: Any) -> str:
    return f"[{'' if low is None else _text(low)},{'' if high is None else _text(high)}" + "}"


def _text(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _cutoff(now: datetime, hours: int | None) -> datetime | None:
    return None if hours is None else now - timedelta(hours=hours)


def _bucket_expression(column: str, buckets: dict[str, tuple[Any, Any]]) -> Case:
    """Return an expression for the index of the bucket that contains the value of the column."""
    cases = []
    for number, (low, high) in enumerate(buckets.values()):
        within = Q() if low is None else Q(**{f"{column}__gte": low})
        within &= Q() if high is None else Q(**{f"{column}__lt": high})
        cases.append(When(within, then=Value(number)))
    return Case(*cases, default=Value(len(buckets) - 1), output_field=IntegerField())
