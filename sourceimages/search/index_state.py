"""The state of the search index of an organization: version and language it was built for.

An index is current if all its rows were written by this version, in the language of the organization. An organization
without index rows has no state; its index is current.

Writers read the language in their transaction, and mark the state as mixed if the index has another language.
Rebuilding starts only after all writers with an earlier language have finished, so that no row is missed.
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

VERSION = 2  # increase it when the same metadata gets different entries
MIXED = ""  # rows have different languages or versions
KIND = "reindex"  # kind of the jobs that rebuild the index


@dataclass(frozen=True, slots=True)
class State:
    """The target that an index was built for, and its current target; None for both without an index."""

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
    """The state of an index built by this version in this language."""
    return f"{VERSION}:{language}"


def language_in(options: dict[str, Any]) -> str:
    return str(options.get("search_language", DEFAULT_LANGUAGE))


def state_of(organization_id: UUID) -> State:
    """The language in the database, even if the organization was loaded earlier."""
    columns = "options", "search_index__made_for", "search_index__building"
    options, *state = Organization.objects.values_list(*columns).get(pk=organization_id)
    return State(language_in(options), *state)


def check_current(organization: Organization) -> str:
    """The language to search the index in. Raises IndexNotReady."""
    state = state_of(organization.pk)
    if state.current:
        return state.language
    job = organization.jobs.filter(kind=KIND, params__index=state.wanted).order_by("-created").first()
    done, total = (job.processed, job.total) if job else (0, organization.images.count())
    raise IndexNotReady(
        f"The search index of {organization.name!r} is being rebuilt ({done} of {total} images). Until then, search "
        f"and sorting by metadata and words are not available. Other filters, such as format and created, are."
    )


def language_to_write(organization_id: UUID) -> str:
    """The language for rows of this transaction; marks the state as mixed if the index has another language."""
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
    """Start rebuilding the index, once current writers have finished; return the target."""
    _lock(organization.pk, shared=False)
    wanted = state_of(organization.pk).wanted
    new = SearchIndex(organization=organization, made_for=MIXED, building=wanted)
    SearchIndex.objects.bulk_create(
        [new], update_conflicts=True, unique_fields=["organization"], update_fields=["building"]
    )
    return wanted


def finish(organization: Organization, built_for: str) -> bool:
    """Mark the index as current after all images are indexed, unless rows for another target were written meanwhile."""
    states = SearchIndex.objects.filter(organization=organization, building=built_for)
    return bool(states.update(made_for=built_for, building=""))


def stale() -> Iterator[tuple[Organization, str]]:
    """Organizations whose index is not current, with the target to build."""
    for state in SearchIndex.objects.select_related("organization").order_by("organization").iterator():
        wanted = current_version(language_in(state.organization.options))
        if state.made_for != wanted:
            yield state.organization, wanted


def _lock(organization_id: UUID, *, shared: bool) -> None:
    """Lock until the transaction ends. SQLite has a single writer and needs no lock."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}(%s)", [lock_number(organization_id)]
            )


def lock_number(organization_id: UUID) -> int:
    """The number of the advisory lock of the organization's index."""
    return int.from_bytes(sha256(b"search index" + organization_id.bytes).digest()[:8], "big", signed=True)
