"""The storage trash: files are deleted from it after STORAGE_TRASH_RETENTION_DAYS, or recovered if a row needs them.

It is scanned in steps over a day, like all other keys.
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
    """The result of a run, in files."""

    removed: int = 0  # deleted permanently
    recovered: int = 0  # that a row refers to and that were missing
    seen: int = 0
    held: str = ""  # why nothing was removed


def empty_trash(*, at_once: bool = False, confirmed: bool = False, dry_run: bool = False) -> EmptyResult:
    """Process the next files in the trash, or all of them `at_once`; only count with `dry_run`. Raises StorageMismatch.

    Call a dry run in a transaction that is rolled back.
    """
    if not dry_run:
        check_removable()
    if not doubts.clocks_agree():
        return EmptyResult(held=task_state.get(doubts.CLOCK).held_reason)
    must_wait = doubts.must_wait(TASK, count=1, limit=1, command=COMMAND)
    if confirmed:
        task_state.release(TASK)
    result = EmptyResult(held=task_state.get(TASK).held_reason if must_wait and not confirmed else "")
    before = task_state.get(TASK)
    step = max(KEYS_PER_STEP, before.progress.get("seen", 0) // RUNS)
    if at_once:
        trashed = storage.originals().list_trash()
    else:
        trashed = islice(storage.originals().list_trash(after=unquote(before.position, errors="surrogateescape")), step)
    owners, last = Owners(), ""
    for batch in batched(trashed, BATCH):
        last = batch[-1].key
        _process(batch, owners, result, dry_run=dry_run)
    if not at_once:
        _save_progress(before, quote(last, errors="surrogateescape") if result.seen == step else "", result.seen)
    if result.removed and not dry_run:
        log.info("storage_trash.emptied", count=result.removed)
    return result


@transaction.atomic
def _save_progress(before: MaintenanceTask, position: str, seen: int) -> None:
    """Save where the next run starts, unless a concurrent run did, and the number of files in the trash."""
    row = task_state.get_for_update(TASK)
    if row.position == before.position:
        counted = row.progress.get("counted", 0) + seen
        row.position = position
        row.progress |= {"counted": counted} if position else {"counted": 0, "seen": counted}
        row.save(update_fields=["position", "progress"])


def _process(
    batch: Sequence[storage.StoredObject], owners: Owners, result: EmptyResult, *, dry_run: bool = False
) -> None:
    """Recover missing files that rows refer to; delete old files that no row refers to."""
    ours = {file.key: file.age for file in batch if owners.own(file)}
    result.seen += len(batch)
    if dry_run:
        needed = stored_files.referenced_keys(ours)
        result.recovered += len(needed) - len(storage.originals().sizes(needed))
    else:
        result.recovered += len(stored_files.recover_missing(ours))
    if result.held:
        return
    old = {key for key, age in ours.items() if age > settings.STORAGE_TRASH_RETENTION_DAYS * DAY}
    if old := old - stored_files.referenced_keys(old):
        if not dry_run:
            check_removable()
            storage.originals().empty_trash(sorted(old))
        result.removed += len(old)
