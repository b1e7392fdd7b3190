"""Garbage collection: moves orphaned files to the storage trash, and removes file rows that no image refers to.

All keys are scanned in steps over a day, and orphans are moved when a scan is complete. A scan that would move more
than a thousandth of all files moves none and waits for an operator: a database that doesn't belong to the storage is
more likely than so much garbage.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat

from rokka.core import failpoints
from rokka.core.clock import database_now
from rokka.core.database import retry_on_conflict
from sourceimages import grace_period, storage, stored_files, task_state
from sourceimages.conflicts import FILE_REFERENCE
from sourceimages.maintenance import doubts
from sourceimages.maintenance.purge import files_for_update, remove_unreferenced
from sourceimages.maintenance.survey import EXAMPLES, Survey, batched, survey_all, survey_step
from sourceimages.models import StoredFile
from sourceimages.ownership import check_removable

TASK = "garbage_collection"
COMMAND = "manage.py collect_garbage --confirm"
MIN_LIMIT = 100  # files that a scan may move without confirmation, however few there are
SHARE = 1000  # a scan may move one in SHARE files without confirmation

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of a complete scan of all keys and all rows."""

    survey: Survey
    rows: dict[int, int]  # sizes in bytes of files that no image refers to, by ID
    limit: int  # files that are moved without confirmation

    @property
    def count(self) -> int:
        return self.survey.count + len(self.rows)

    @property
    def size(self) -> int:
        return self.survey.bytes + sum(self.rows.values())


@dataclass(frozen=True, slots=True)
class Collected:
    """The result of a run."""

    moved: int = 0  # files moved to the storage trash
    temporary: int = 0  # temporary files deleted
    scan: Scan | None = None  # if this run completed one
    held: str = ""  # why nothing was moved


def collect_garbage(*, at_once: bool = False) -> Collected:
    """Scan the next keys, or all of them `at_once`; when all are scanned, move orphaned files to the storage trash.

    Raises StorageMismatch.
    """
    check_removable()
    if not doubts.clocks_agree():
        return Collected(held=task_state.get(doubts.CLOCK).held_reason)
    temporary = delete_old_temp_files()
    survey = survey_all() if at_once else survey_step(TASK, limit=limit())
    if survey is None:
        return Collected(temporary=temporary)
    return replace(apply_scan(classify(survey)), temporary=temporary)


def apply_scan(scan: Scan, *, confirmed: bool = False) -> Collected:
    """Move the files that the scan found, unless there are so many that an operator has to confirm it first."""
    check_removable()
    if not doubts.clocks_agree():
        return Collected(held=task_state.get(doubts.CLOCK).held_reason)
    _save_progress(scan)
    failpoints.failpoint("collect.selected")
    if scan.count > scan.limit and not confirmed:
        return Collected(scan=scan, held=_hold(scan))
    task_state.release(TASK)
    moved = _move_files_without_images(scan.rows) + len(stored_files.move_to_trash(scan.survey.orphans))
    if moved:
        log.info("garbage.moved_to_trash", count=moved, bytes=scan.size, examples=scan.survey.orphans[:EXAMPLES])
    return Collected(moved, scan=scan)


def limit() -> int:
    """How many files a scan moves without confirmation."""
    return max(MIN_LIMIT, StoredFile.objects.count() // SHARE)


def classify(survey: Survey) -> Scan:
    """The survey of all keys, with the file rows that no image refers to."""
    return Scan(survey, dict(files_without_images().values_list("id", "size")), limit())


def files_without_images() -> QuerySet[StoredFile]:
    """Rows that no image refers to, for example because it was overwritten; without those of uploads in progress."""
    return StoredFile.objects.filter(
        images=None, created__lt=database_now() - timedelta(seconds=grace_period.seconds())
    )


def _hold(scan: Scan) -> str:
    size = filesizeformat(scan.size).replace("\xa0", " ")
    reason = (
        f"Garbage collection would move {scan.count} of {StoredFile.objects.count()} files ({size}) to the storage "
        f"trash; the limit without confirmation is {scan.limit}. Check that this database belongs to this storage."
    )
    task_state.hold(
        TASK,
        reason,
        count=scan.count,
        bytes=scan.size,
        examples=scan.survey.orphans[:EXAMPLES],
        command=COMMAND,
    )
    return reason


def _save_progress(scan: Scan) -> None:
    """Save the numbers of the last scan for the dashboard."""
    survey = scan.survey
    last = {"seen": survey.seen, "orphans": scan.count, "orphan_bytes": scan.size}
    last |= {"foreign": survey.foreign, "foreign_bytes": survey.foreign_bytes}
    task_state.set_progress(
        TASK, last=last | {"foreign_examples": survey.foreign_examples, "ended": str(database_now())}
    )


def _move_files_without_images(ids: Collection[int]) -> int:
    moved = 0
    for batch in batched(sorted(ids), stored_files.MOVE_BATCH):
        check_removable()  # move_to_trash checks again, but only after the rows are deleted
        moved += len(stored_files.move_to_trash(_remove_rows(batch)))
    return moved


def _remove_rows(ids: Sequence[int]) -> list[str]:
    keys: list[str] = []
    for file in files_without_images().filter(pk__in=ids).select_related("organization").order_by("id"):
        keys += _remove_row(file)
    failpoints.failpoint("collect.rows_removed")
    return keys


@retry_on_conflict(references=[FILE_REFERENCE])  # a new image refers to the file: the next attempt skips it
@transaction.atomic
def _remove_row(file: StoredFile) -> list[str]:
    """Delete the row if no image refers to it; return the key of its file, in a list."""
    return remove_unreferenced(file.organization, files_for_update({file.pk}))


def delete_old_temp_files() -> int:
    """Delete temporary files of uploads whose process was killed; return how many."""
    removed = 0
    for path in old_temp_files():
        with suppress(OSError):  # the upload was finished, another process deleted it, or the disk is read-only
            path.unlink()
            removed += 1
    return removed


def old_temp_files() -> list[Path]:
    """Temporary files that are older than the grace period."""
    folder, found = storage.originals().temp_dir, []
    now, old = storage.folder_now(folder), grace_period.seconds()
    for path in folder.glob("*.part"):
        with suppress(OSError):
            if now - path.stat().st_mtime > old:
                found.append(path)
    return found
