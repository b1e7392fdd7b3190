"""For which version of this code and which language the search index of an organization was made.

An index is current if every row of it was made by this version, in the language that the organization has now. An
organization of which nothing was indexed yet has no state: its index is current.

Whoever writes the index reads the language in the same transaction, and says so in the state if the index was made for
another one. Building it anew begins when nobody writes in an earlier language any more, so that nothing is missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connection

from organizations.models import Organization
from sourceimages.errors import IndexNotReady
from sourceimages.metadata.stemming import DEFAULT_LANGUAGE
from sourceimages.models import SearchIndex

VERSION = 2  # raise it when the same documents get other entries
MIXED = ""  # rows were made for different languages or versions
KIND = "reindex"  # of jobs that build it


@dataclass(frozen=True, slots=True)
class State:
    """What an index was made for, beside what it should be made for; None where there is no index yet."""

    language: str
    made_for: str | None
    building: str | None

    @property
    def wanted(self) -> str:
        return current_version(self.language)

    @property
    def current(self) -> bool:
        return self.made_for in (None, self.wanted)


def current_version(language: str) -> str:
    """What the state says of an index that was made by this version in this language."""
    return f"{VERSION}:{language}"


def language_in(options: dict[str, Any]) -> str:
    return str(options.get("search_language", DEFAULT_LANGUAGE))


def state_of(organization_id: UUID) -> State:
    """As it is now, whatever was read of the organization before."""
    columns = "options", "search_index__made_for", "search_index__building"
    options, *state = Organization.objects.values_list(*columns).get(pk=organization_id)
    return State(language_in(options), *state)


def check_current(organization: Organization) -> str:
    """The language that the index is searched in. Raises IndexNotReady."""
    state = state_of(organization.pk)
    if state.current:
        return state.language
    job = organization.jobs.filter(kind=KIND, params__index=state.wanted).order_by("-created").first()
    done, total = (job.processed, job.total) if job else (0, organization.images.count())
    raise IndexNotReady(
        f"The search index of {organization.name!r} is being rebuilt, {done} of {total} images so far. Until then, "
        f"metadata and words cannot be searched or sorted by; other filters, such as format and created, can."
    )


def language_to_write(organization_id: UUID) -> str:
    """The language of rows that this transaction is about to write, also in the state if the index is of another."""
    _lock(organization_id, shared=True)
    state = state_of(organization_id)
    if state.made_for in (MIXED, state.wanted) and state.building in ("", state.wanted):
        return state.language
    states = SearchIndex.objects.filter(organization=organization_id)
    new = SearchIndex(organization_id=organization_id, made_for=state.wanted)
    SearchIndex.objects.bulk_create([new], ignore_conflicts=True)
    states.exclude(made_for=state.wanted).update(made_for=MIXED)
    states.exclude(building__in=("", state.wanted)).update(building="")
    return state.language


def begin(organization: Organization) -> str:
    """Begin to build the index, after all who write it at this moment; answer what it is built for."""
    _lock(organization.pk, shared=False)
    wanted = state_of(organization.pk).wanted
    new = SearchIndex(organization=organization, made_for=MIXED, building=wanted)
    SearchIndex.objects.bulk_create(
        [new], update_conflicts=True, unique_fields=["organization"], update_fields=["building"]
    )
    return wanted


def finish(organization: Organization, built_for: str) -> bool:
    """All images are indexed: the index is current, unless somebody wrote for something else meanwhile."""
    states = SearchIndex.objects.filter(organization=organization, building=built_for)
    return bool(states.update(made_for=built_for, building=""))


def stale() -> Iterator[tuple[Organization, str]]:
    """Organizations whose index is not current, and what it has to be built for."""
    for state in SearchIndex.objects.select_related("organization").order_by("organization").iterator():
        wanted = current_version(language_in(state.organization.options))
        if state.made_for != wanted:
            yield state.organization, wanted


def _lock(organization_id: UUID, *, shared: bool) -> None:
    """Until the transaction ends. SQLite has one writer at a time, and needs none."""
    if connection.vendor == "postgresql":
        number = int.from_bytes(sha256(b"search index" + organization_id.bytes).digest()[:8], "big", signed=True)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}(%s)", [number])
