"""Celery tasks for maintenance and jobs."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from celery.signals import worker_init

from rokka.celery import app
from rokka.core import time_limits
from rokka.core.locks import AlreadyRunning, exclusive
from sourceimages import jobs, operations, ownership, probing, queue
from sourceimages.errors import ReadingInterrupted, StorageMismatch
from sourceimages.jobs import snapshot
from sourceimages.jobs.progress import TRANSIENT
from sourceimages.maintenance import garbage_collection, storage_trash, versions
from sourceimages.maintenance.purge import purge_expired
from sourceimages.maintenance.verify import verify_due

TIME_SLICE = 5 if queue.INLINE else jobs.TIME_SLICE  # seconds; inline, a request waits for it
VERIFY_SECONDS = 10 if queue.INLINE else 240  # inline, other tasks wait for it
PURGE_AGAIN_SECONDS, PURGE_EXPIRES_SECONDS = 60, 3600  # if another purge is running

log = structlog.get_logger()


@worker_init.connect
def check_sandbox(**sent: Any) -> None:
    """Refuse to start a worker without the sandbox that is required, like a web process."""
    probing.check_sandbox()


def retried_by_schedule(task: Callable[..., None]) -> Callable[..., None]:
    """Decorate a task whose work is in rows: if something is unavailable, the next scheduled run does the work.

    That is so while the storage or the database doesn't answer, while the two don't belong together, and while another
    process runs the same task.
    """

    @wraps(task)
    def attempt(*params: Any) -> None:
        try:
            ownership.check_writable()
            with time_limits.limited(time_limits.JOB, per_statement=True):
                task(*params)
        except StorageMismatch as error:
            log.error("task.paused", task=task.__name__, reason=error.message)
        except AlreadyRunning:
            log.info("task.already_running", task=task.__name__)
        except TRANSIENT as error:
            log.warning("task.postponed", task=task.__name__, reason=str(error))

    return attempt


@app.task
@retried_by_schedule
@exclusive("raise_owner_mark")
def raise_owner_mark() -> None:
    ownership.raise_counter()


@app.task
@retried_by_schedule
@exclusive("collect_garbage")
def collect_garbage() -> None:
    garbage_collection.collect_garbage()


@app.task
@retried_by_schedule
@exclusive("empty_storage_trash")
def empty_storage_trash() -> None:
    storage_trash.empty_trash()


@app.task
@retried_by_schedule
def purge() -> None:
    """Purge expired deletions; a running purge may have missed those that this one was started for."""
    try:
        with exclusive("purge"):
            purge_expired()
    except AlreadyRunning:
        if not queue.INLINE:
            purge.apply_async(countdown=PURGE_AGAIN_SECONDS, expires=PURGE_EXPIRES_SECONDS)
        raise


@app.task
@retried_by_schedule
@exclusive("remove_old_versions")
def remove_old_versions() -> None:
    versions.remove_old_versions()


@app.task(bind=True)
@retried_by_schedule
def run_job(self: Task, job_id: str) -> None:
    """Run a slice of a job and enqueue the next one. If a service is unavailable, resume_jobs retries it later."""
    if (self.request.delivery_info or {}).get("redelivered"):
        jobs.handle_killed(UUID(job_id))
    job = queue.run_slice(UUID(job_id), seconds=TIME_SLICE)
    if job is not None and job.unfinished and not queue.INLINE:
        run_job.delay(job_id)


@app.task
@retried_by_schedule
@exclusive("resume_jobs")
def resume_jobs() -> None:
    """Resume jobs without a running worker; a job that was killed too often fails."""
    for job_id in jobs.stalled(seconds=queue.STALE_SECONDS):
        jobs.handle_killed(job_id)
        if queue.INLINE:
            queue.run_slice(job_id, seconds=jobs.TIME_SLICE)  # in the scheduler, where no request waits
        else:
            queue.enqueue_job(job_id)


@app.task
@retried_by_schedule
@exclusive("index_stale")
def index_stale() -> None:
    """Rebuild search indexes after a change of the language, or an upgrade that changes the index."""
    for job in jobs.index_stale():
        queue.enqueue_job(job.pk)


@app.task
@retried_by_schedule
@exclusive("delete_old_job_images")
def delete_old_job_images() -> None:
    snapshot.delete_old()


@app.task
@retried_by_schedule
def optimize(file_id: int) -> None:
    try:
        operations.optimize(file_id)
    except ReadingInterrupted as error:
        log.warning("optimize.interrupted", file=file_id, error=error.message)


@app.task
@retried_by_schedule
@exclusive("optimize_pending")
def optimize_pending() -> None:
    for file_id in operations.waiting_to_be_optimized():
        queue.enqueue("optimize", file_id)


@app.task
@retried_by_schedule
@exclusive("extract_colors")
def extract_colors() -> None:
    """Extract the dominant colors of up to 100 files; the next run continues."""
    for file_id in operations.files_without_colors():
        operations.extract_colors(file_id)


@app.task
@retried_by_schedule
@exclusive("read_again")
def read_again() -> None:
    for file_id in operations.to_read_again():
        operations.read_again(file_id)


@app.task
@retried_by_schedule
@exclusive("verify")
def verify() -> None:
    verify_due(seconds=VERIFY_SECONDS)
