"""The images that a bulk action processes: selected one by one, or all results of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import Count, Max, Q, Sum
from django.http import QueryDict

from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImageQuerySet
from sourceimages.search import Search, read

MAX_IDS = 2000  # images selected one by one


def fingerprint(count: int, last: int | None, total: int | None) -> str:
    """Identify a set of images by their number, their highest id and the sum of their ids."""
    return f"{count}-{last or 0}-{total or 0}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the confirmation page shows about a selection; `bytes` is the size of its files."""

    count: int
    locked: int
    protected: int
    bytes: int
    fingerprint: str = ""  # see `fingerprint`


@dataclass(frozen=True, slots=True)
class Selection:
    """Active images of an organization, or images in its trash: those with these `ids`, or all that `search` finds.

    `search` is a query string with parameters of the API's list. With `for_list` the images are only listed;
    otherwise searches that don't suit a bulk action are refused, see `search.read`.
    """

    organization: Organization
    in_trash: bool
    search: str = ""
    ids: tuple[int, ...] | None = None
    for_list: bool = False

    def images(self) -> SourceImageQuerySet:
        """Return the images of the organization that match now. Raises InvalidInput: invalid search, too many ids."""
        images = self.organization.images
        found: SourceImageQuerySet = images.in_trash() if self.in_trash else images.active()
        if self.ids is not None:
            if len(self.ids) > MAX_IDS:
                raise InvalidInput(
                    f"{len(self.ids)} images are selected; the limit is {MAX_IDS}. Select all search results instead."
                )
            return found.filter(pk__in=self.ids)
        condition = self._condition()
        return found if condition is None else found.filter(condition)

    @property
    def is_unfiltered(self) -> bool:
        """Return whether all images are selected; sorting and paging are no filters. Raises InvalidInput."""
        return self.ids is None and not self._condition()

    @property
    def notice(self) -> str:
        """Return why the query of a list could not be parsed and was read as words; empty if it was parsed."""
        return self._read().notice

    def _condition(self) -> Q | None:
        return self._read().condition

    def _read(self) -> Search:
        query = QueryDict(self.search)
        return read(self.organization, query, in_trash=self.in_trash, for_action=not self.for_list)

    def summary(self) -> Summary:
        """Count the images that match now. Raises InvalidInput."""
        sums = self.images().aggregate(
            count=Count("pk"),
            locked=Count("pk", filter=Q(locked=True)),
            protected=Count("pk", filter=Q(protected=True)),
            bytes=Sum("size"),
            last=Max("pk"),
            sum=Sum("pk"),
        )
        return Summary(
            sums["count"],
            sums["locked"],
            sums["protected"],
            sums["bytes"] or 0,
            fingerprint(sums["count"], sums["last"], sums["sum"]),
        )

    def confirmed(self) -> SourceImageQuerySet:
        """Return the images for a job: what the search finds now, or those with the ids, even if deleted since."""
        if self.ids is None:
            return self.images()
        self.images()  # raises InvalidInput for too many ids
        return self.organization.images.filter(pk__in=self.ids)

    def to_json(self) -> dict[str, Any]:
        """Return the selection as stored in the params of a job."""
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
