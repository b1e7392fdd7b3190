"""What is asked before anything is written or removed."""

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
RAISE_SECONDS = 60  # after which a process that removes files raises the counter again


@dataclass(frozen=True, slots=True)
class _CachedFinding:
    storage: Storage
    place: object
    until: float  # by the monotonic clock
    finding: Finding

    def holds(self, originals: Storage) -> bool:
        """Is it still true of this storage, as far as can be told for nothing?"""
        return self.storage is originals and time.monotonic() < self.until and self.place == originals.place()


class _Memory:
    last: _CachedFinding | None = None
    raised: tuple[Storage, float] | None = None  # which mark this process has raised, and when


_memory = _Memory()


def check_writable() -> None:
    """Raises StorageMismatch where database and storage do not agree: reads go on, nothing is written or removed.

    Cheap enough for every request that writes: the answer is cached for a few seconds in each process, unless a local
    folder is not the one any more that it was about, as after a disk was unmounted.
    """
    _refuse(current())


def check_removable() -> None:
    """The same, asked anew. Whatever moves or removes files calls it before each bounded round.

    Not in a transaction: now and then it raises the counter.
    """
    finding, raised = current(fresh=True), _memory.raised
    _refuse(finding)
    if raised is None or raised[0] is not storage.originals() or time.monotonic() > raised[1] + RAISE_SECONDS:
        _raise_counter(finding)


def raise_counter() -> None:
    """Raise the counter of both: a dump or a copy that was made before is told from what comes after.

    Raises StorageMismatch.
    """
    finding = current(fresh=True)
    _refuse(finding)
    _raise_counter(finding)


def current(*, fresh: bool = False) -> Finding:
    """What is true of database and storage now, or, unless `fresh`, was a few seconds ago; new ones get their mark."""
    originals, last = storage.originals(), _memory.last
    if not fresh and last is not None and last.holds(originals):
        return last.finding
    finding = examine()
    if finding.new:
        claim()
        finding = examine()
    _memory.last = _CachedFinding(originals, originals.place(), time.monotonic() + CACHE_SECONDS, finding)
    return finding


def generation() -> str:
    """Of the rows that this process may remember ids of; another one after a restore."""
    last = _memory.last
    return last.finding.generation if last and not last.finding.problem else ""


def claim() -> None:
    """Give a new database and a new storage their mark. Several processes may do so at once, and mean the same.

    The counter leaves zero when the storage has its mark: until then another process may do all of it again.
    """
    facts = database.identify()
    new = Instance(database=facts.identity)
    Instance.objects.bulk_create([new], ignore_conflicts=True)
    unmarked = Instance.objects.filter(counter=0)
    unmarked.update(database=facts.identity)
    write_mark()
    failpoints.failpoint("owner.claimed")
    unmarked.update(counter=1, newest_file=facts.newest_file, newest_image=facts.newest_image, raised_at=Now())
    write_mark()


def _raise_counter(finding: Finding) -> None:
    """The database first, committed, then the storage: after a crash in between it is one ahead, and is followed."""
    mark, own, facts = finding.in_storage, finding.in_database, finding.facts
    if mark and own and mark.counter == own.counter:
        Instance.objects.filter(counter=own.counter).update(
            counter=F("counter") + 1,
            newest_file=facts.newest_file,
            newest_image=facts.newest_image,
            raised_at=Now(),
        )
        failpoints.failpoint("owner.counted")
    write_mark()
    _memory.raised = (storage.originals(), time.monotonic())


@transaction.atomic
def write_mark() -> None:
    """Write the row into the storage; under its lock, or a slow writer could put an older one over a newer one."""
    row = Instance.objects.select_for_update().get()
    storage.originals().write_mark(Mark.of(row).serialized())


def _refuse(finding: Finding) -> None:
    if finding.problem:
        raise finding.problem.error
