"""State of scheduled tasks between runs, and holds: tasks that wait for an operator."""

from typing import Any

import structlog
from django.db import transaction

from rokka.core.clock import DatabaseNow
from sourceimages.models import MaintenanceTask

log = structlog.get_logger()


def get(name: str) -> MaintenanceTask:
    """The row of the task; an unsaved one if it has none yet."""
    return MaintenanceTask.objects.filter(pk=name).first() or MaintenanceTask(name=name)


def get_for_update(name: str) -> MaintenanceTask:
    """The row of the task, locked until the transaction ends; created if necessary."""
    MaintenanceTask.objects.bulk_create([MaintenanceTask(name=name)], ignore_conflicts=True)
    return MaintenanceTask.objects.select_for_update().get(pk=name)


def progress_of(name: str) -> dict[str, Any]:
    """The progress that the task has saved."""
    progress: dict[str, Any] = get(name).progress
    return progress


@transaction.atomic
def set_progress(name: str, **values: Any) -> None:
    """Save these values, without changing others."""
    task = get_for_update(name)
    task.progress |= values
    task.save(update_fields=["progress"])


@transaction.atomic
def add_progress(name: str, **numbers: int) -> None:
    """Add to the saved numbers."""
    task = get_for_update(name)
    task.progress |= {key: task.progress.get(key, 0) + number for key, number in numbers.items()}
    task.save(update_fields=["progress"])


@transaction.atomic
def hold(name: str, reason: str, **details: Any) -> None:
    """Record why the task waits for an operator. The first call sets `held_since` and is logged as an error.

    The dashboard shows the details `count`, `bytes`, `examples`, and the `command` that ends the hold.
    """
    task = get_for_update(name)
    MaintenanceTask.objects.filter(pk=name).update(
        held_since=task.held_since or DatabaseNow(), held_reason=reason, held_details=details
    )
    (log.warning if task.held_since else log.error)("maintenance.held", task=name, reason=reason, **details)


def release(name: str) -> None:
    """End the hold of the task, if there is one."""
    MaintenanceTask.objects.filter(pk=name).exclude(held_since=None).update(
        held_since=None, held_reason="", held_details={}
    )


def held() -> list[MaintenanceTask]:
    """Tasks that wait for an operator, the longest waiting one first."""
    return list(MaintenanceTask.objects.exclude(held_since=None).order_by("held_since"))
