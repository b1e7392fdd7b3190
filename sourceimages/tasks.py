"""Celery tasks for maintenance and jobs."""

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any
from uuid import UUID

import structlog
from celery import Task, shared_task
from django.conf import settings
from django.db import transaction

from organizations.models import Job
from sourceimages import jobs, operations, ownership
from sourceimages.errors import ReadingInterrupted, StorageMismatch
from sourceimages.jobs import snapshot
from sourceimages.jobs.progress import TRANSIENT
from sourceimages.maintenance import garbage_collection, storage_trash, versions
from sourceimages.maintenance.purge import purge_expired
from sourceimages.maintenance.verify import verify_due
from sourceimages.models import StoredFile

INLINE = settings.JOB_RUNNER == "inline"  # the one place that reads it
STALE_SECONDS = 10 if INLINE else 40  # without a heartbeat, before another process resumes a job
TIME_SLICE = 5 if INLINE else jobs.TIME_SLICE  # seconds; inline, a request waits for it
VERIFY_SECONDS = 10 if INLINE else 240  # inline, other tasks wait for it
INLINE_LIMIT = 100  # images of a job that is run within the request
INLINE_SECONDS = 5  # after which such a job continues in the background

log = structlog.get_logger()


def retried_by_schedule(task: Callable[..., None]) -> Callable[..., None]:
    """Decorate a task whose work is in rows: if something is unavailable, the next scheduled run does the work.

    That is so while the storage or the database doesn't answer, and while the two don't belong together.
    """

    @wraps(task)
    def attempt(*params: Any) -> None:
        try:
            ownership.check_writable()
            task(*params)
        except StorageMismatch as error:
            log.error("task.paused", task=task.__name__, reason=error.message)
        except TRANSIENT as error:
            log.warning("task.postponed", task=task.__name__, reason=str(error))

    return attempt


@shared_task
@retried_by_schedule
def raise_owner_mark() -> None:
    ownership.raise_counter()


@shared_task
@retried_by_schedule
def collect_garbage() -> None:
    garbage_collection.collect_garbage()


@shared_task
@retried_by_schedule
def empty_storage_trash() -> None:
    storage_trash.empty_trash()


@shared_task
@retried_by_schedule
def purge() -> None:
    purge_expired()


@shared_task
@retried_by_schedule
def remove_old_versions() -> None:
    versions.remove_old_versions()


@shared_task(bind=True)
@retried_by_schedule
def run_job(self: Task, job_id: str) -> None:
    """Run a slice of a job and enqueue the next one. If a service is unavailable, resume_jobs retries it later."""
    if (self.request.delivery_info or {}).get("redelivered"):
        jobs.handle_killed(UUID(job_id))
    job = _run_slice(UUID(job_id), seconds=TIME_SLICE)
    if job is not None and job.unfinished and not INLINE:
        run_job.delay(job_id)


@shared_task
@retried_by_schedule
def resume_jobs() -> None:
    """Resume jobs without a running worker; a job that was killed too often fails."""
    for job_id in jobs.stalled(seconds=STALE_SECONDS):
        jobs.handle_killed(job_id)
        if INLINE:
            _run_slice(job_id, seconds=jobs.TIME_SLICE)  # in the scheduler, where no request waits
        else:
            enqueue_job(job_id)


@shared_task
@retried_by_schedule
def index_stale() -> None:
    """Rebuild search indexes after a change of the language, or an upgrade that changes the index."""
    for job in jobs.index_stale():
        enqueue_job(job.pk)


@shared_task
@retried_by_schedule
def delete_old_job_images() -> None:
    snapshot.delete_old()


def _run_slice(job_id: UUID, *, seconds: float) -> Job | None:
    """Run the job for this many seconds; None if it waits for a service that is unavailable."""
    if jobs.is_waiting(job_id):
        return None
    try:
        return jobs.run(job_id, seconds=seconds)
    except TRANSIENT as error:
        log.warning("job.waits", job=str(job_id), error=str(error))
        return None


@shared_task
@retried_by_schedule
def optimize(file_id: int) -> None:
    try:
        operations.optimize(file_id)
    except ReadingInterrupted as error:
        log.warning("optimize.interrupted", file=file_id, error=error.message)


@shared_task
@retried_by_schedule
def optimize_pending() -> None:
    for file_id in operations.waiting_to_be_optimized():
        _enqueue(optimize, file_id)


@shared_task
@retried_by_schedule
def extract_colors() -> None:
    """Extract the dominant colors of up to 100 files; the next run continues."""
    for file_id in operations.files_without_colors():
        operations.extract_colors(file_id)


@shared_task
@retried_by_schedule
def read_again() -> None:
    for file_id in operations.to_read_again():
        operations.read_again(file_id)


@shared_task
@retried_by_schedule
def verify() -> None:
    verify_due(seconds=VERIFY_SECONDS)


def run_or_enqueue(job: Job) -> Job:
    """Run a small job at once, or enqueue a large one; return its current state."""
    if (job.total or 0) <= INLINE_LIMIT:
        job = _run_slice(job.pk, seconds=INLINE_SECONDS) or job
    if job.unfinished:
        enqueue_job(job.pk)
        job.refresh_from_db()
    return job


def enqueue_job(job_id: UUID) -> None:
    """Enqueue the job after the commit. If that fails, the scheduled task resume_jobs runs it."""
    transaction.on_commit(lambda: _enqueue(run_job, str(job_id)))


def enqueue_purge() -> None:
    """Enqueue a purge after the commit, instead of waiting for the hourly one."""
    transaction.on_commit(lambda: _enqueue(purge))


def enqueue_optimize(files: Iterable[StoredFile]) -> None:
    """Enqueue the optimization of those files for which it was requested, after the commit."""
    for file in {file.pk: file for file in files if file.optimize_to}.values():
        transaction.on_commit(partial(_enqueue, optimize, file.pk))


def _enqueue(task: Task, *params: str | int) -> None:
    try:
        if INLINE:
            task(*params)
        else:
            task.delay(*params)
    except Exception:  # the request that enqueues it must not fail; a scheduled task will do the work
        log.warning("task.enqueue_failed", task=task.name, params=params, exc_info=True)
