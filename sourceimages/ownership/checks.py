"""Checks before files are written or removed."""

import time
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from rokka.core import failpoints
from sourceimages import storage
from sourceimages.models import Instance
from sourceimages.ownership import database
from sourceimages.ownership.marks import Finding, Mark, examine
from sourceimages.storage import Storage

CACHE_SECONDS = 3
RAISE_SECONDS = 60  # between two increments of the counter by a process that removes files


@dataclass(frozen=True, slots=True)
class _CachedFinding:
    storage: Storage
    place: object
    expires_at: float  # by the monotonic clock
    finding: Finding

    def is_valid(self, originals: Storage) -> bool:
        """Whether it is recent, and still about this storage; checked without reading from it."""
        return self.storage is originals and time.monotonic() < self.expires_at and self.place == originals.place()


class _Cache:
    last: _CachedFinding | None = None
    raised: tuple[Storage, float] | None = None  # whose mark this process has raised, and when


_cache = _Cache()


def check_writable() -> None:
    """Raises StorageMismatch if database and storage don't belong together.

    Cheap enough for every request that writes: the finding is cached for a few seconds in each process, unless the
    folder of a local storage was replaced, for example because a disk was unmounted.
    """
    _check(current())


def check_removable() -> None:
    """Like check_writable, without the cache. Call it before each batch of files that are moved or removed.

    Call it outside transactions: about once a minute it raises the counter.
    """
    finding, raised = current(fresh=True), _cache.raised
    _check(finding)
    if raised is None or raised[0] is not storage.originals() or time.monotonic() > raised[1] + RAISE_SECONDS:
        _raise_counter(finding)


def raise_counter() -> None:
    """Increment the counter of both marks, so that older dumps and copies are recognized. Raises StorageMismatch."""
    finding = current(fresh=True)
    _check(finding)
    _raise_counter(finding)


def current(*, fresh: bool = False) -> Finding:
    """The state of database and storage, up to a few seconds old unless `fresh`. Marks new ones."""
    originals, last = storage.originals(), _cache.last
    if not fresh and last is not None and last.is_valid(originals):
        return last.finding
    finding = examine()
    if finding.new:
        claim()
        finding = examine()
    _cache.last = _CachedFinding(originals, originals.place(), time.monotonic() + CACHE_SECONDS, finding)
    return finding


def generation() -> str:
    """Identifies the state of the database; IDs that were cached under another generation are invalid."""
    last = _cache.last
    return last.finding.generation if last and not last.finding.problem else ""


def claim() -> None:
    """Mark a new database and a new storage. Safe to run concurrently.

    The counter stays zero until the storage has its mark: until then another process may repeat all of it.
    """
    identity = database.identify()
    new = Instance(database=identity.name)
    Instance.objects.bulk_create([new], ignore_conflicts=True)
    unmarked = Instance.objects.filter(counter=0)
    unmarked.update(database=identity.name)
    write_mark()
    failpoints.failpoint("owner.claimed")
    unmarked.update(counter=1, newest_file=identity.newest_file, newest_image=identity.newest_image, raised_at=Now())
    write_mark()


def _raise_counter(finding: Finding) -> None:
    """Commit to the database first, then write the mark: after a crash in between, the next call writes the mark."""
    mark, own, identity = finding.in_storage, finding.in_database, finding.identity
    if mark and own and mark.counter == own.counter:
        Instance.objects.filter(counter=own.counter).update(
            counter=F("counter") + 1,
            newest_file=identity.newest_file,
            newest_image=identity.newest_image,
            raised_at=Now(),
        )
        failpoints.failpoint("owner.counted")
    write_mark()
    _cache.raised = (storage.originals(), time.monotonic())


@transaction.atomic
def write_mark() -> None:
    """Write the row to the storage, while it is locked: or a slow writer could overwrite a newer mark."""
    row = Instance.objects.select_for_update().get()
    storage.originals().write_mark(Mark.of(row).serialized())


def _check(finding: Finding) -> None:
    if finding.problem:
        raise finding.problem.error
