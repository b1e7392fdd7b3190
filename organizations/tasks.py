"""Celery faces of what time brings here."""

from celery import shared_task

from organizations import stats


@shared_task
def snapshot_stats() -> None:
    stats.snapshot()
