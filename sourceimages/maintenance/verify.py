"""Verification of stored files: all of them are read in turn and compared with their SHA-256.

Only the damage is recorded in their rows. A missing or corrupt file is repaired by an upload of the same content
(`operations.heal`), or from a backup.
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
SECONDS = 240  # maximum duration of a run
BATCH = 500  # rows read at a time
FAILURES = 3  # consecutive files that can't be read, before the storage counts as unavailable
EXAMPLES = 10  # damaged files that are listed for operators

log = structlog.get_logger()


# --- All files --------------------------------------------------------------------------------------------------------


def verify(
    files: QuerySet[StoredFile],
    *,
    actor: Actor = SYSTEM,
    limit: int | None = None,
    watch: Callable[[VerifiedFile], None] = lambda one: None,
) -> int:
    """Verify these files, or the first `limit` of them; return how many. `watch` is called with each of them."""
    count = 0
    for verified in islice(_verified(files, actor), limit):
        count += 1
        watch(verified)
    report()
    return count


def due() -> Q:
    """Condition for files that were not found intact within VERIFY_INTERVAL_DAYS."""
    return (
        Q(verified_at=None)
        | Q(verified_at__lt=database_now() - timedelta(days=settings.VERIFY_INTERVAL_DAYS))
        | ~Q(damage="")
    )


def verify_due(*, seconds: float = SECONDS, actor: Actor = SYSTEM) -> int:
    """Verify the next files of a cycle through all files, which takes VERIFY_INTERVAL_DAYS; return how many.

    Runs catch up on missed ones, each for at most this many `seconds`.
    """
    task = _start_or_resume()
    deadline = time.monotonic() + seconds
    position, count = int(task.position or 0), 0
    for verified in _verified(StoredFile.objects.filter(pk__gt=position, pk__lte=_target(task)), actor):
        count += 1
        _save_position(task, verified.file.pk, count)
        if time.monotonic() > deadline:
            break
    else:
        _save_position(task, max(position, _target(task)), count)
    report()
    return count


def report() -> None:
    """Hold the task, so that operators see it, while there are damaged files."""
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
        return  # already reported
    reason = (
        f"{count:,} stored files are missing or corrupt. Upload the same content again or restore them from a backup, "
        f"then run manage.py verify."
    )
    task_state.hold(NAME, reason, count=count, examples=examples)


def _verified(files: QuerySet[StoredFile], actor: Actor) -> Iterator[VerifiedFile]:
    """Skip a file that can't be read; raise StorageUnavailable after several consecutive ones."""
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
    """The files by ascending ID, without keeping a query open while they are read."""
    last = 0
    while batch := list(files.filter(pk__gt=last).order_by("id")[:BATCH]):
        yield from batch
        last = batch[-1].pk


# --- The cycle --------------------------------------------------------------------------------------------------------


@transaction.atomic
def _start_or_resume() -> MaintenanceTask:
    """The row of the task, after starting a new cycle if the last one is complete.

    `progress` has the cycle's start, its ID range and the number of verified files.
    """
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
    """The ID that the cycle should have reached by now."""
    assert task.last_run is not None  # noqa: S101 (it was set when the run began)
    first, last = task.progress["first"], task.progress["last"]
    return int(first + (last - first) * min(1.0, _elapsed(task, task.last_run)))


def _elapsed(task: MaintenanceTask, now: datetime) -> float:
    """The elapsed fraction of the cycle's duration."""
    return (now - datetime.fromisoformat(task.progress["started"])) / timedelta(days=settings.VERIFY_INTERVAL_DAYS)


def _save_position(task: MaintenanceTask, position: int, done: int) -> None:
    """Save where the next run starts. Concurrent runs verify some files twice, which is harmless."""
    progress: dict[str, Any] = task.progress | {"done": task.progress["done"] + done}
    MaintenanceTask.objects.filter(pk=NAME).update(position=str(position), progress=progress)


def of_organization(organization: Organization | None) -> QuerySet[StoredFile]:
    """The files of the organization, or of all organizations."""
    return StoredFile.objects.all() if organization is None else StoredFile.objects.filter(organization=organization)
