"""Celery faces of upkeep."""

from celery import shared_task

from sourceimages import upkeep


@shared_task(autoretry_for=(OSError,), retry_backoff=True, max_retries=8)
def sweep() -> None:
    upkeep.sweep()
