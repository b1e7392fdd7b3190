"""Celery faces of upkeep."""

from celery import shared_task

from sourceimages import upkeep
from sourceimages.errors import StorageUnavailable


@shared_task(autoretry_for=(StorageUnavailable,), retry_backoff=True, max_retries=8)
def sweep() -> None:
    upkeep.sweep()
