"""Scheduled Celery tasks of the accounts app."""

from celery import shared_task

from organizations.usage import daily_stats


@shared_task
def snapshot_stats() -> None:
    daily_stats.snapshot()
