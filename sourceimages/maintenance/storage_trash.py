"""The storage's trash: emptied after STORAGE_TRASH_RETENTION_DAYS of what no row names, and searched for what one does.

The look over it is spread over a day, like that over all keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote, unquote

import structlog
from django.conf import settings
from django.db import transaction

from sourceimages import storage, stored_files, task_state
from sourceimages.maintenance import doubts
from sourceimages.maintenance.survey import BATCH, KEYS_PER_STEP, RUNS, Owners, batched
from sourceimages.models import MaintenanceTask
from sourceimages.ownership import check_removable

TASK = stored_files.TASK
COMMAND = "manage.py collect_garbage --confirm"
DAY = 86_400  # seconds

log = structlog.get_logger()


@dataclass(slots=True)
class EmptyResult:
    """What became of a run."""

    removed: int = 0  # files, for ever
    recovered: int = 0  # files that a row names and that were missing at their place
    seen: int = 0
    held: str = ""  # why nothing was removed


def empty_trash(*, at_once: bool = False, confirmed: bool = False) -> EmptyResult:
    """Look at the files in the trash whose turn it is, or at all of them at once. Raises StorageMismatch."""
    check_removable()
    if not doubts.clocks_agree():
        return EmptyResult(held=task_state.get(doubts.CLOCK).held_reason)
    doubtful = doubts.must_wait(TASK, count=1, limit=1, command=COMMAND)
    if confirmed:
        task_state.release(TASK)
    done = EmptyResult(held=task_state.get(TASK).held_reason if doubtful and not confirmed else "")
    before = task_state.get(TASK)
    step = max(KEYS_PER_STEP, before.progress.get("seen", 0) // RUNS)
    if at_once:
        trashed = storage.originals().list_trash()
    else:
        trashed = islice(storage.originals().list_trash(after=unquote(before.position, errors="surrogateescape")), step)
    owners, last = Owners(), ""
    for batch in batched(trashed, BATCH):
        last = batch[-1].key
        _scan(batch, owners, done)
    if not at_once:
        _save_progress(before, quote(last, errors="surrogateescape") if done.seen == step else "", done.seen)
    if done.removed:
        log.info("storage_trash.emptied", count=done.removed)
    return done


@transaction.atomic
def _save_progress(before: MaintenanceTask, position: str, seen: int) -> None:
    """Where the next run begins, unless another one has gone on meanwhile; and how many there are."""
    row = task_state.get_for_update(TASK)
    if row.position == before.position:
        counted = row.progress.get("counted", 0) + seen
        row.position = position
        row.progress |= {"counted": counted} if position else {"counted": 0, "seen": counted}
        row.save(update_fields=["position", "progress"])


def _scan(batch: Sequence[storage.StoredObject], owners: Owners, done: EmptyResult) -> None:
    """Never one that a row names: that is recovered, unless it is at its place, too."""
    ours = {held.key: held.age for held in batch if owners.own(held)}
    done.seen += len(batch)
    done.recovered += len(stored_files.recover_missing(ours))
    if done.held:
        return
    old = {key for key, age in ours.items() if age > settings.STORAGE_TRASH_RETENTION_DAYS * DAY}
    if old := old - stored_files.referenced_keys(old):
        check_removable()
        storage.originals().empty_trash(sorted(old))
        done.removed += len(old)
