"""Run tasks, or enqueue them for a worker. Separate from the tasks: only a process that uses Celery imports it."""

from collections.abc import Iterable
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from organizations.models import Job
from rokka.core import time_limits
from sourceimages import jobs
from sourceimages.jobs.progress import TRANSIENT
from sourceimages.models import StoredFile

INLINE = settings.JOB_RUNNER == "inline"  # the one place that reads it
STALE_SECONDS = 10 if INLINE else 40  # without a heartbeat, before another process resumes a job
INLINE_LIMIT = 100  # images of a job that is run within the request
INLINE_SECONDS = 5  # after which such a job continues in the background

log = structlog.get_logger()


def run_slice(job_id: UUID, *, seconds: float) -> Job | None:
    """Run the job for this many seconds; None if it waits for a service that is unavailable."""
    if jobs.is_waiting(job_id):
        return None
    try:
        with time_limits.limited(time_limits.JOB, per_statement=True):
            return jobs.run(job_id, seconds=seconds)
    except TRANSIENT as error:
        log.warning("job.waits", job=str(job_id), error=str(error))
        return None


def run_or_enqueue(job: Job) -> Job:
    """Run a small job at once, or enqueue a large one; return its current state."""
    if (job.total or 0) <= INLINE_LIMIT:
        job = run_slice(job.pk, seconds=INLINE_SECONDS) or job
    if job.unfinished:
        enqueue_job(job.pk)
        job.refresh_from_db()
    return job


def enqueue_job(job_id: UUID) -> None:
    """Enqueue the job after the commit. If that fails, the scheduled task resume_jobs runs it."""
    transaction.on_commit(lambda: enqueue("run_job", str(job_id)))


def enqueue_purge() -> None:
    """Enqueue a purge after the commit, instead of waiting for the hourly one."""
    transaction.on_commit(lambda: enqueue("purge"))


def enqueue_optimize(files: Iterable[StoredFile]) -> None:
    """Enqueue the optimization of those files for which it was requested, after the commit."""
    for file in {file.pk: file for file in files if file.optimize_to}.values():
        transaction.on_commit(partial(enqueue, "optimize", file.pk))


def enqueue(name: str, *params: str | int) -> None:
    """Enqueue the task, or run it now, if there are no workers."""
    path = f"sourceimages.tasks.{name}"
    try:
        task = import_string(path)
        if INLINE:
            task(*params)
        else:
            task.delay(*params)
    except Exception:  # the request that enqueues it must not fail; a scheduled task will do the work
        log.warning("task.enqueue_failed", task=path, params=params, exc_info=True)
