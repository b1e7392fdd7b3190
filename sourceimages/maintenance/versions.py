"""Deletes versions of images after HISTORY_RETENTION_DAYS."""

import time
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from sourceimages import task_state
from sourceimages.models import ImageVersion, MaintenanceTask

NAME = "history"
BATCH = 5000  # rows deleted in one transaction
TIME_SLICE = 30  # maximum duration of a run in seconds; the next run continues
MAX_GAP = timedelta(days=2)  # between two runs; a larger one may be a clock jump
HOLD_TIME = timedelta(days=1)

log = structlog.get_logger()


def remove_old_versions() -> int:
    """Delete versions older than HISTORY_RETENTION_DAYS by the database's clock; return how many."""
    now = _start()
    if now is None:
        return 0
    deadline, removed = time.monotonic() + TIME_SLICE, 0
    old = ImageVersion.objects.filter(created__lt=now - timedelta(days=settings.HISTORY_RETENTION_DAYS)).order_by(
        "created"
    )
    while time.monotonic() < deadline and (ids := list(old.values_list("pk", flat=True)[:BATCH])):
        removed += ImageVersion.objects.filter(pk__in=ids).delete()[0]
    if removed:
        log.info("history.removed", count=removed)
    return removed


@transaction.atomic
def _start() -> datetime | None:
    """The database's time, or None for a day after a clock jump."""
    task = task_state.get_for_update(NAME)
    now: datetime = MaintenanceTask.objects.filter(pk=NAME).values_list(Now(), flat=True).get()
    waiting = task.held_since is not None and abs(now - task.held_since) < HOLD_TIME
    jumped = task.held_since is None and task.last_run is not None and abs(now - task.last_run) > MAX_GAP
    MaintenanceTask.objects.filter(pk=NAME).update(last_run=now)
    if jumped:
        task_state.hold(
            NAME, "The database's clock jumped, or the task didn't run for days. It resumes in a day by itself."
        )
    elif not waiting:
        task_state.release(NAME)
    return None if jumped or waiting else now
