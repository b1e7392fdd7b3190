"""Celery faces of upkeep and of long work."""

from uuid import UUID

import structlog
from celery import shared_task
from celery.exceptions import OperationalError as QueueUnavailable
from django.conf import settings
from django.db import OperationalError, transaction

from rokka.errors import Conflict, DomainError
from sourceimages import jobs, upkeep
from sourceimages.errors import StorageUnavailable

MISSED = 40  # seconds without a sign of life, after which a job is taken up by somebody else
SLICE = 5 if settings.CELERY_TASK_ALWAYS_EAGER else jobs.SLICE  # somebody waits, or nobody does

log = structlog.get_logger()


@shared_task(autoretry_for=(StorageUnavailable,), retry_backoff=True, max_retries=8)
def sweep() -> None:
    upkeep.sweep()


@shared_task(autoretry_for=(StorageUnavailable, OperationalError), retry_backoff=True, max_retries=8)
def purge() -> None:
    upkeep.purge()


@shared_task(autoretry_for=(StorageUnavailable, OperationalError, Conflict), retry_backoff=True, max_retries=8)
def run_job(job_id: str) -> None:
    job = jobs.run(UUID(job_id), seconds=SLICE)
    if job.unfinished and not settings.CELERY_TASK_ALWAYS_EAGER:
        run_job.delay(job_id)


@shared_task
def resume_jobs() -> None:
    for job_id in jobs.stalled(seconds=MISSED):
        hurry(job_id)


def hurry(job_id: UUID) -> None:
    """Have the job done soon. That it is done at all does not depend on it: its row is there, and beat looks."""
    transaction.on_commit(lambda: _enqueue(job_id))


def _enqueue(job_id: UUID) -> None:
    try:
        run_job.delay(str(job_id))
    except (QueueUnavailable, DomainError, OperationalError):
        log.warning("job.not_hurried", job=str(job_id), exc_info=True)
