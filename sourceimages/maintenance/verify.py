"""Is what is stored still what was stored? Every file is read in turn and compared with its sha256.

Nothing is removed or changed but what the rows say of their files. What is lost or rotten is mended by an upload of the
same content (`operations.heal`), or from a backup.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Max, Min, Q, QuerySet

from organizations.audit import SYSTEM, Actor
from organizations.models import Organization
from rokka.core.clock import database_now
from sourceimages import task_state
from sourceimages.errors import StorageUnavailable
from sourceimages.models import MaintenanceTask, StoredFile
from sourceimages.operations.verify import VerifiedFile, verify_file

NAME = "verify"  # of the task
SECONDS = 240  # of reading in a run
BATCH = 500  # rows read at a time
FAILURES = 3  # files in a row that cannot be read, after which the storage is taken to be down
EXAMPLES = 10  # damaged files that are shown to operators

log = structlog.get_logger()


# --- All files --------------------------------------------------------------------------------------------------------


def verify(
    files: QuerySet[StoredFile],
    *,
    actor: Actor = SYSTEM,
    limit: int | None = None,
    watch: Callable[[VerifiedFile], None] = lambda one: None,
) -> int:
    """Compare these files, or the first `limit` of them; answers how many. `watch` is called with each.

    Operators are told what is damaged.
    """
    count = 0
    for verified in islice(_verified(files, actor), limit):
        count += 1
        watch(verified)
    report()
    return count


def due() -> Q:
    """Files that were not found to be intact for VERIFY_INTERVAL_DAYS."""
    return (
        Q(verified_at=None)
        | Q(verified_at__lt=database_now() - timedelta(days=settings.VERIFY_INTERVAL_DAYS))
        | ~Q(damage="")
    )


def verify_due(*, seconds: float = SECONDS, actor: Actor = SYSTEM) -> int:
    """The next share of a round through all files, which takes VERIFY_INTERVAL_DAYS; answers how many were compared.

    What a run that is missed should have done is done by the next ones, each for so many `seconds` at most.
    """
    task = _start_or_resume()
    ends = time.monotonic() + seconds
    position, count = int(task.position or 0), 0
    for verified in _verified(StoredFile.objects.filter(pk__gt=position, pk__lte=_target(task)), actor):
        count += 1
        _save_position(task, verified.file.pk, count)
        if time.monotonic() > ends:
            break
    else:
        _save_position(task, max(position, _target(task)), count)
    report()
    return count


def report() -> None:
    """Show operators what is damaged, for as long as anything is."""
    damaged = StoredFile.objects.exclude(damage="").select_related("organization").order_by("id")
    examples = [
        {"organization": one.organization.name, "binary_hash": one.binary_hash, "key": one.key, "damage": one.damage}
        for one in damaged[:EXAMPLES]
    ]
    if not examples:
        task_state.release(NAME)
        return
    count = damaged.count()
    if MaintenanceTask.objects.filter(pk=NAME, held_details={"count": count, "examples": examples}).exists():
        return  # they have been told
    reason = (
        f"{count:,} stored files are missing or corrupt. Upload the same content again, or restore them from a backup; "
        f"then run manage.py verify."
    )
    task_state.hold(NAME, reason, count=count, examples=examples)


def _verified(files: QuerySet[StoredFile], actor: Actor) -> Iterator[VerifiedFile]:
    """One file that cannot be read now does not keep the others from being read; several in a row are the storage."""
    failures = 0
    for file in _in_batches(files):
        try:
            verified = verify_file(file, actor=actor)
        except StorageUnavailable:
            failures += 1
            log.warning("verify.skipped", file=file.pk, key=file.key, exc_info=True)
            if failures == FAILURES:
                raise
            continue
        failures = 0
        if verified:
            yield verified


def _in_batches(files: QuerySet[StoredFile]) -> Iterator[StoredFile]:
    """By ascending id; no connection is kept busy while a file is read."""
    last = 0
    while batch := list(files.filter(pk__gt=last).order_by("id")[:BATCH]):
        yield from batch
        last = batch[-1].pk


# --- The round --------------------------------------------------------------------------------------------------------


@transaction.atomic
def _start_or_resume() -> MaintenanceTask:
    """The row of the task, in the midst of a round: `progress` has its start, and the ids that it lies between."""
    task, now = task_state.get_for_update(NAME), database_now()
    if not task.progress or (_elapsed(task, now) >= 1 and int(task.position or 0) >= task.progress["last"]):
        ids = StoredFile.objects.aggregate(first=Min("id"), last=Max("id"))
        first, last = (ids["first"] or 1) - 1, ids["last"] or 0
        task.progress = {"started": now.isoformat(), "first": first, "last": last, "done": 0}
        task.position = str(first)
    task.last_run = now
    task.save(update_fields=["progress", "position", "last_run"])
    return task


def _target(task: MaintenanceTask) -> int:
    """The id that the round should have come to by now."""
    assert task.last_run is not None  # noqa: S101 (it was set when the run began)
    first, last = task.progress["first"], task.progress["last"]
    return int(first + (last - first) * min(1.0, _elapsed(task, task.last_run)))


def _elapsed(task: MaintenanceTask, now: datetime) -> float:
    """The part of the round's time that is over."""
    return (now - datetime.fromisoformat(task.progress["started"])) / timedelta(days=settings.VERIFY_INTERVAL_DAYS)


def _save_position(task: MaintenanceTask, position: int, done: int) -> None:
    """Where the next run begins. Two runs at once do some files twice, which harms nobody."""
    progress: dict[str, Any] = task.progress | {"done": task.progress["done"] + done}
    MaintenanceTask.objects.filter(pk=NAME).update(position=str(position), progress=progress)


def of_organization(organization: Organization | None) -> QuerySet[StoredFile]:
    """Its files, or all."""
    return StoredFile.objects.all() if organization is None else StoredFile.objects.filter(organization=organization)
