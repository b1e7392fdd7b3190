"""Moving to the storage's trash what nothing refers to: files without a row, and files whose row no image shows.

The look over all keys is spread over a day, and what it finds is judged when it has come round. A round that would move
more than a thousandth of all files moves none and waits for an operator: a database that does not know what is in the
storage is more likely than so much garbage.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

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
MIN_LIMIT = 100  # files that a round may move, however few there are
SHARE = 1000  # one of so many files may be moved by a round

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look over all keys and all rows has come to."""

    survey: Survey
    rows: dict[int, int]  # files whose row no image shows: ids, and sizes in bytes
    limit: int  # files that are moved without asking

    @property
    def count(self) -> int:
        return self.survey.count + len(self.rows)

    @property
    def size(self) -> int:
        return self.survey.bytes + sum(self.rows.values())


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a run."""

    moved: int = 0  # files that are in the storage's trash now
    temporary: int = 0  # files of uploads that were never finished: removed
    round: Scan | None = None  # that has ended with this run
    held: str = ""  # why nothing was moved


def collect_garbage(*, at_once: bool = False) -> Collected:
    """Look at the keys whose turn it is, or at all of them at once, and when all are looked at move what is garbage.

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


def apply_scan(found: Scan, *, confirmed: bool = False) -> Collected:
    """Move what was found, unless it is so much that an operator has to confirm it first."""
    check_removable()
    if not doubts.clocks_agree():
        return Collected(held=task_state.get(doubts.CLOCK).held_reason)
    _save_progress(found)
    failpoints.failpoint("collect.judged")
    if found.count > found.limit and not confirmed:
        return Collected(round=found, held=_hold(found))
    task_state.release(TASK)
    moved = _move_files_without_images(found.rows) + len(stored_files.move_to_trash(found.survey.orphans))
    if moved:
        log.info("garbage.moved_to_trash", count=moved, bytes=found.size, examples=found.survey.orphans[:EXAMPLES])
    return Collected(moved, round=found)


def limit() -> int:
    """How many files a round moves without asking."""
    return max(MIN_LIMIT, StoredFile.objects.count() // SHARE)


def classify(survey: Survey) -> Scan:
    """Orphans and rows together: both lose their place by the same round."""
    return Scan(survey, dict(files_without_images().values_list("id", "size")), limit())


def files_without_images() -> QuerySet[StoredFile]:
    """Rows that no image shows any more, because the one that did was overwritten, and that none is about to."""
    return StoredFile.objects.filter(
        images=None, created__lt=database_now() - timedelta(seconds=grace_period.seconds())
    )


def _hold(found: Scan) -> str:
    size = filesizeformat(found.size).replace("\xa0", " ")
    reason = (
        f"Garbage collection would move {found.count} files ({size}) of {StoredFile.objects.count()} to the storage's "
        f"trash; {found.limit} are moved without asking. Does this database belong to this storage?"
    )
    task_state.hold(
        TASK,
        reason,
        count=found.count,
        bytes=found.size,
        examples=found.survey.orphans[:EXAMPLES],
        command=COMMAND,
    )
    return reason


def _save_progress(found: Scan) -> None:
    """What the dashboard shows of the last round."""
    survey = found.survey
    last = {"seen": survey.seen, "orphans": found.count, "orphan_bytes": found.size}
    last |= {"foreign": survey.foreign, "foreign_bytes": survey.foreign_bytes}
    task_state.set_progress(
        TASK, last=last | {"foreign_examples": survey.foreign_examples, "ended": str(database_now())}
    )


def _move_files_without_images(ids: Collection[int]) -> int:
    moved = 0
    for batch in batched(sorted(ids), stored_files.MOVE_BATCH):
        check_removable()  # before the rows are gone, not only before the files are
        moved += len(stored_files.move_to_trash(_remove_rows(batch)))
    return moved


def _remove_rows(ids: Sequence[int]) -> list[str]:
    keys: list[str] = []
    for file in files_without_images().filter(pk__in=ids).select_related("organization").order_by("id"):
        keys += _remove_row(file)
    failpoints.failpoint("collect.rows_removed")
    return keys


@retry_on_conflict(references=[FILE_REFERENCE])  # it has come to be needed: at the second look it is
@transaction.atomic
def _remove_row(file: StoredFile) -> list[str]:
    """Keys of the file, if no image shows it."""
    return remove_unreferenced(file.organization, files_for_update({file.pk}))


def delete_old_temp_files() -> int:
    """Remove files of uploads that were never finished, because their process was killed."""
    folder, removed = storage.originals().temp_dir, 0
    now, old = storage.folder_now(folder), grace_period.seconds()
    for path in folder.glob("*.part"):
        with suppress(FileNotFoundError):  # finished, or removed by another
            if now - path.stat().st_mtime > old:
                path.unlink()
                removed += 1
    return removed
