"""Pictures of an organization that somebody chose: ticked one by one, or all that a search finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import Count, Max, Q, Sum
from django.http import QueryDict

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImageQuerySet
from sourceimages.search import Search, read

MAX_IDS = 2000  # that can be ticked


def fingerprint(count: int, last: int | None, total: int | None) -> str:
    """What a set of images is recognized by: how many there are, the highest id, and the sum of all ids."""
    return f"{count}-{last or 0}-{total or 0}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What is about to be touched."""

    count: int
    locked: int
    protected: int
    bytes: int
    fingerprint: str = ""  # of exactly these images


@dataclass(frozen=True, slots=True)
class Selection:
    """Living pictures, or those in the trash. `search` holds parameters of the API's list; `ids`, if any, is all.

    `for_list`: they are only shown. Otherwise some searches are refused, see search.condition.
    """

    organization: Organization
    in_trash: bool
    search: str = ""
    ids: tuple[int, ...] | None = None
    for_list: bool = False

    def images(self) -> SourceImageQuerySet:
        """Those that are there now; what belongs to others is not. Raises InvalidInput for a bad search or too many ids."""
        every = self.organization.images
        found: SourceImageQuerySet = every.in_trash() if self.in_trash else every.active()
        if self.ids is not None:
            if len(self.ids) > MAX_IDS:
                raise InvalidInput(
                    f"{len(self.ids)} pictures are ticked; the limit is {MAX_IDS}. Search for them instead."
                )
            return found.filter(pk__in=self.ids)
        wanted = self._condition()
        return found if wanted is None else found.filter(wanted)

    @property
    def is_unfiltered(self) -> bool:
        """Whether nothing is left out; parameters that only sort or page choose nothing. Raises InvalidInput."""
        return self.ids is None and not self._condition()

    @property
    def notice(self) -> str:
        """Where and why what was typed is not a query, and was read as words; only for a list."""
        return self._read().notice

    def _condition(self) -> Q | None:
        return self._read().condition

    def _read(self) -> Search:
        query = QueryDict(self.search)
        return read(self.organization, query, in_trash=self.in_trash, for_action=not self.for_list)

    def summary(self) -> Summary:
        sums = self.images().aggregate(
            count=Count("pk"),
            locked=Count("pk", filter=Q(locked=True)),
            protected=Count("pk", filter=Q(protected=True)),
            bytes=Sum("size"),
            last=Max("pk"),
            sum=Sum("pk"),
        )
        shown = fingerprint(sums["count"], sums["last"], sums["sum"])
        return Summary(sums["count"], sums["locked"], sums["protected"], sums["bytes"] or 0, shown)

    def confirmed(self) -> SourceImageQuerySet:
        """What a job is to deal with: what a search finds now, or the ids, wherever these images are by now."""
        if self.ids is None:
            return self.images()
        self.images()  # refuses too many
        return self.organization.images.filter(pk__in=self.ids)

    def to_json(self) -> dict[str, Any]:
        """As a job keeps it."""
        ids = {} if self.ids is None else {"ids": list(self.ids)}
        return {"in_trash": self.in_trash, "search": self.search, **ids}

    @classmethod
    def from_json(cls, organization: Organization, params: Mapping[str, Any]) -> Self:
        ids = params.get("ids")
        return cls(
            organization,
            in_trash=params["in_trash"],
            search=params["search"],
            ids=None if ids is None else tuple(ids),
        )
