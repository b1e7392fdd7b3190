"""Paging of rokka.io's contract: `offset` is a number or a cursor."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import QueryDict

from organizations.models import Organization
from rokka.core import time_limits
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImage
from sourceimages.search import cursor, sort
from sourceimages.search.ordering import phases
from sourceimages.search.sort import Order

DEFAULT_LIMIT = 100
MAX_LIMIT = 2000
MAX_OFFSET = 2**53  # safe as a JSON number in all clients
FEWER_CONDITIONS = "Use fewer conditions, or conditions that fewer images meet: equal values, or longer prefixes."
NUMBER = re.compile(r"[0-9]{1,17}\Z")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its items, and how to continue."""

    items: list[SourceImage]
    links: dict[str, Any]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested page. `offset` is a number, or None when paging by cursor from `position`."""

    limit: int
    order: Order
    offset: int | None
    position: list[Any]
    cursor: str

    @classmethod
    def read(cls, query: Mapping[str, str], organization: Organization, *, in_trash: bool) -> "PageRequest":
        """Read the query parameters; empty ones count as missing. Raises InvalidInput naming the parameter."""
        order = sort.parse(query.get("sort", ""), organization, in_trash=in_trash)
        offset = query.get("offset", "")
        numeric = bool(NUMBER.match(offset))
        if numeric and int(offset) > MAX_OFFSET:
            raise InvalidInput(f"offset: must be at most {MAX_OFFSET}.")
        by_cursor = bool(offset) and not numeric
        return cls(
            limit=_limit(query.get("limit", "")),
            order=order,
            offset=int(offset) if numeric else None,
            position=cursor.decode(offset, order) if by_cursor else [],
            cursor=offset if by_cursor else "",
        )

    def iterate(self, images: QuerySet[SourceImage], organization: Organization, chunk: int) -> Iterator[SourceImage]:
        """All images from the start of the page, in order. Each chunk is a page that has the time of a search."""
        wanted = replace(self, limit=chunk)
        while True:
            with time_limits.limited(time_limits.SEARCH):
                found = wanted._read(phases(images, organization, self.order, wanted.position))
            yield from found[:chunk]
            if len(found) <= chunk:
                return
            wanted = replace(wanted, offset=None, position=cursor.values_of(found[chunk - 1], self.order))

    def page(self, images: QuerySet[SourceImage], organization: Organization, path: str, query: QueryDict) -> Page:
        found = self._read(phases(images, organization, self.order, self.position)) if self.limit else []
        items, more = found[: self.limit], len(found) > self.limit
        next_cursor = self._cursor(items)
        links: dict[str, Any] = {}
        if self.offset and self.limit:
            links["prev"] = {"href": _href(path, query, self.limit, max(0, self.offset - self.limit) or None)}
        if more:
            following = next_cursor if self.cursor else (self.offset or 0) + self.limit
            links["next"] = {"href": _href(path, query, self.limit, following)}
        return Page(items, links, next_cursor)

    def _read(self, found: list[QuerySet[SourceImage]]) -> list[SourceImage]:
        """The items of the page, and one more if it exists."""
        items: list[SourceImage] = []
        skipped = self.offset or 0
        with time_limits.part(*self._part()):
            for phase in found:
                items += phase[skipped : skipped + self.limit + 1 - len(items)]
                if len(items) > self.limit or phase is found[-1]:
                    break
                skipped = 0 if items else max(0, skipped - phase.count())
        return items

    def _part(self) -> tuple[str, str]:
        """What reading the page does, and how to ask for less, for the message if it takes too long."""
        doing, advice = "searched the images of the page", [FEWER_CONDITIONS]
        if sum(key.field is not None and not key.missing for key in self.order) > 1:
            doing += ", sorted by several metadata fields,"
            advice.append("Sort by one metadata field, or by `created`, `name` or `size`.")
        if self.offset:
            doing += f" after skipping {self.offset} images"
            advice.append("Use the `cursor` of the previous page instead of an offset.")
        return doing.rstrip(","), " ".join(advice)

    def _cursor(self, items: list[SourceImage]) -> str | None:
        """The cursor of the next page. Always present without a numeric offset: clients read until a page is empty."""
        if items:
            return cursor.encode(self.order, cursor.values_of(items[-1], self.order))
        if self.offset is not None:
            return None
        return self.cursor or cursor.encode(self.order)


def count(images: QuerySet[SourceImage]) -> int:
    """The exact number of images."""
    with time_limits.part("counted the images that match", FEWER_CONDITIONS):
        return images.count()


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not NUMBER.match(text) or int(text) > MAX_LIMIT:
        raise InvalidInput(f"limit: must be an integer from 0 to {MAX_LIMIT}.")
    return int(text)


def _href(path: str, query: QueryDict, limit: int, offset: int | str | None) -> str:
    """The URL of the same list at another position, with all other parameters."""
    parameters: list[tuple[str, Any]] = [
        (name, value) for name, values in query.lists() for value in values if name not in ("limit", "offset")
    ]
    parameters.append(("limit", limit))
    if offset is not None:
        parameters.append(("offset", offset))
    return f"{path}?{urlencode(parameters)}"
