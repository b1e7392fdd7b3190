"""Estimate before a search runs how many rows the database has to read for it.

Cheap searches just run. Expensive ones need a slot, see `slots`. A search that can't end within its time limit is
refused, with the parts it consists of. Every search has the time limit, because an estimate can be wrong.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property

from django.conf import settings
from django.http import QueryDict

from organizations.models import Organization
from organizations.usage import counters
from rokka.core import time_limits
from sourceimages.errors import SearchTooExpensive
from sourceimages.search import slots
from sourceimages.search.sort import Order

HEAVY_ROWS = 1_000_000  # read in a tenth of a second on an idle machine, and in a second on a busy one
ROWS_PER_SECOND = 4_000_000  # no machine is known to read more
PROBED_FROM = 100_000  # rows that conditions can read before those of each are counted
ENTRIES_PER_IMAGE = 10  # of the index
LONG_QUERY, LONG_QUERY_PARAMETERS = 500, 15  # characters of the query string; parameters
SMALL = 10_000  # images, up to which long queries need no slot
SPARSE = 20  # images tested for one that matches, up to which a page is read in its order
VALUES_PER_IMAGE = 3  # of fields with several values
SORTED_BY_INDEX = {"created", "name", "size", "hash", "id"}
CONDITIONS, FACETS, SORT, OFFSET, TOTAL, FIELDS = "conditions", "facets", "sort", "offset", "total", "fields"
ADVICE = {
    CONDITIONS: "Use fewer conditions, or conditions that fewer images meet: equal values, or longer prefixes.",
    FACETS: "Request fewer facets at once, or add conditions that fewer images meet.",
    SORT: "Sort by `created`, `name`, `size` or one metadata field.",
    OFFSET: "Use the `cursor` of the previous page instead of an offset.",
}


class Cost:
    """Rows to read for a search, by part of the request. Compiling its conditions adds theirs."""

    def __init__(self, organization: Organization, *, in_trash: bool = False) -> None:
        self.organization, self.in_trash = organization, in_trash
        self.rows: Counter[str] = Counter()
        self._matching: int | None = None
        self._seconds_of_counting = 0.0

    @cached_property
    def images(self) -> int:
        """The number of images in which is searched; in the trash, counted up to a limit."""
        if self.in_trash:
            rows = self.organization.images.filter(tombstone__isnull=False).order_by()
            return rows[: HEAVY_ROWS + 1].count()
        return max(0, counters.totals(self.organization).images)

    @property
    def matching(self) -> int:
        """The number of images that match at most."""
        return self.images if self._matching is None else min(self._matching, self.images)

    @matching.setter
    def matching(self, value: int) -> None:
        self._matching = value

    @property
    def total(self) -> int:
        return self.rows.total()

    def add_page(self, order: Order, offset: int, *, filtered: bool, facets: int) -> None:
        """Add what a page, its total and its facets take."""
        columns = [key for key in order if key.field is None]
        metadata = [key for key in order if key.field is not None and not key.missing]
        self.rows[OFFSET] += min(offset, self.matching) if offset else 0
        if len(metadata) > 1 or (not metadata and columns[0].column not in SORTED_BY_INDEX):
            self.rows[SORT] += self.matching * max(1, len(metadata))
        if filtered:
            self.add_total()
        if facets:
            self.rows[FACETS] += facets * self.matching * VALUES_PER_IMAGE

    def add_total(self) -> None:
        """Add what counting the images that match takes."""
        self.rows[TOTAL] += self.matching

    def add_fields(self) -> None:
        """Add what counting the images of all fields takes."""
        self.rows[FIELDS] += self.images * ENTRIES_PER_IMAGE

    @contextmanager
    def counted(self, key: str, query: QueryDict) -> Iterator[None]:
        """Parse the conditions and count their rows in the block; its time is part of that of the search.

        Long queries need a slot of the key for that already. Raises TooManySearches, TimeLimitExceeded.
        """
        is_long = len(query) > LONG_QUERY_PARAMETERS or len(query.urlencode()) > LONG_QUERY
        slot = slots.slot(key) if is_long and self.images > SMALL else nullcontext()
        with slot, time_limits.limited(time_limits.SEARCH) as limit:
            with time_limits.part("compared the conditions", ADVICE[CONDITIONS]):
                yield
            self._seconds_of_counting = limit.used

    def reads_in_order(self, total: int) -> bool:
        """Return whether so many images match that a page is found by testing images in its order."""
        return total * SPARSE > self.images

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """Run the search in the block within its time limit, in a slot of the key if it is expensive.

        Raises SearchTooExpensive, TooManySearches, TimeLimitExceeded.
        """
        most = settings.SEARCH_TIMEOUT_SECONDS * ROWS_PER_SECOND
        if self.total > most:
            raise SearchTooExpensive(self._refusal(most))
        with time_limits.limited(time_limits.SEARCH, used=self._seconds_of_counting) as limit:
            if self.total <= HEAVY_ROWS:
                yield
                return
            limit.parallel = False
            with slots.slot(key):
                yield

    def _refusal(self, most: int) -> str:
        parts = [(name, rows) for name, rows in self.rows.most_common() if rows]
        shares = ", ".join(f"{name}: {rows:,}" for name, rows in parts)
        advice = [ADVICE[name] for name, rows in parts if name in ADVICE and rows * 4 > self.total]
        return (
            f"This search would read about {self.total:,} rows of the database ({shares}); the limit is {most:,} "
            f"(SEARCH_TIMEOUT_SECONDS). {' '.join(advice or ADVICE.values())}"
        )
