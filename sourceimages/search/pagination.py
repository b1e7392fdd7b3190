"""The contract's way of turning pages: by number or by cursor, whichever `offset` holds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import QueryDict

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImage
from sourceimages.search import cursor, sort
from sourceimages.search.ordering import phases
from sourceimages.search.sort import Order

DEFAULT_LIMIT = 100
MAX_LIMIT = 2000
MAX_OFFSET = 2**53  # what a JSON number can say everywhere
NUMBER = re.compile(r"[0-9]{1,17}\Z")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its items, and what leads on from it."""

    items: list[SourceImage]
    links: dict[str, Any]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for. `offset` is a number, or None when paging by cursor from `position`."""

    limit: int
    order: Order
    offset: int | None
    position: list[Any]
    cursor: str

    @classmethod
    def read(cls, query: Mapping[str, str], organization: Organization, *, in_trash: bool) -> "PageRequest":
        """From query parameters; one without a value counts as absent. Raises Invalid naming the parameter."""
        order = sort.parse(query.get("sort", ""), organization, in_trash=in_trash)
        offset = query.get("offset", "")
        numeric = bool(NUMBER.match(offset))
        if numeric and int(offset) > MAX_OFFSET:
            raise InvalidInput(f"offset: at most {MAX_OFFSET}.")
        by_cursor = bool(offset) and not numeric
        return cls(
            limit=_limit(query.get("limit", "")),
            order=order,
            offset=int(offset) if numeric else None,
            position=cursor.decode(offset, order) if by_cursor else [],
            cursor=offset if by_cursor else "",
        )

    def iterate(self, images: QuerySet[SourceImage], organization: Organization, chunk: int) -> Iterator[SourceImage]:
        """All from the start of the page on, in their order, read so many at a time."""
        found = (phase.iterator(chunk) for phase in phases(images, organization, self.order, self.position))
        return islice(chain.from_iterable(found), self.offset or 0, None)

    def page(self, images: QuerySet[SourceImage], organization: Organization, path: str, query: QueryDict) -> Page:
        found = self._read(phases(images, organization, self.order, self.position)) if self.limit else []
        items, more = found[: self.limit], len(found) > self.limit
        onward = self._cursor(items)
        links: dict[str, Any] = {}
        if self.offset and self.limit:
            links["prev"] = {"href": _href(path, query, self.limit, max(0, self.offset - self.limit) or None)}
        if more:
            following = onward if self.cursor else (self.offset or 0) + self.limit
            links["next"] = {"href": _href(path, query, self.limit, following)}
        return Page(items, links, onward)

    def _read(self, found: list[QuerySet[SourceImage]]) -> list[SourceImage]:
        """The items of the page, and one more if there is one."""
        items: list[SourceImage] = []
        skipped = self.offset or 0
        for phase in found:
            items += phase[skipped : skipped + self.limit + 1 - len(items)]
            if len(items) > self.limit or phase is found[-1]:
                break
            skipped = 0 if items else max(0, skipped - phase.count())
        return items

    def _cursor(self, items: list[SourceImage]) -> str | None:
        """Never missing without a numeric offset: clients read on until a page is empty."""
        if items:
            return cursor.encode(self.order, cursor.values_of(items[-1], self.order))
        if self.offset is not None:
            return None
        return self.cursor or cursor.encode(self.order)


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not NUMBER.match(text) or int(text) > MAX_LIMIT:
        raise InvalidInput(f"limit: it must be a number from 0 to {MAX_LIMIT}.")
    return int(text)


def _href(path: str, query: QueryDict, limit: int, offset: int | str | None) -> str:
    """The same list, elsewhere. What else was asked for is repeated."""
    parameters: list[tuple[str, Any]] = [
        (name, value) for name, values in query.lists() for value in values if name not in ("limit", "offset")
    ]
    parameters.append(("limit", limit))
    if offset is not None:
        parameters.append(("offset", offset))
    return f"{path}?{urlencode(parameters)}"
