"""Retries of failed batches. The number of attempts is in the job's row, so that it survives a restart.

- A transient error, such as a storage that doesn't respond, is retried for a day with growing pauses; then the job
  fails.
- After an unexpected error in a batch, its images are processed one by one. An image that fails three times is recorded
  as failed, and the job continues with the next one.
- An unexpected error outside of a batch fails the job after five attempts without progress.
- A process that is killed during a batch counts as an attempt. After five at the same image, the image has failed.
"""

import re
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from organizations.models import Job
from sourceimages.jobs.progress import ImagesFailed, advance, finish, next_ids
from sourceimages.outcomes import Outcome

IMAGE_ATTEMPTS = 3
JOB_ATTEMPTS = 5
GIVE_UP_AFTER = timedelta(days=1)
MIN_PAUSE, MAX_PAUSE = timedelta(seconds=5), timedelta(minutes=10)
KILLED_MESSAGE = "The process was killed while it processed this image."
CREDENTIALS = re.compile(r"://[^\s/@]*@")
MAX_MESSAGE = 300  # characters

log = structlog.get_logger()


@transaction.atomic
def after_outage(job_id: UUID, error: Exception) -> Job:
    """Schedule a retry after a transient error, at `retry_at`. Fails the job after GIVE_UP_AFTER without progress."""
    job = Job.objects.get_for_update(job_id)
    if job.state != Job.State.RUNNING:
        return job
    now = timezone.now()
    job.stuck_since, job.working_since = job.stuck_since or now, None
    stuck = now - job.stuck_since
    job.retry_at = now + min(max(stuck / 2, MIN_PAUSE), MAX_PAUSE)
    if stuck > GIVE_UP_AFTER:
        return _fail(job, f"No progress for {GIVE_UP_AFTER.days} day. Last error: {error_text(error)}")
    job.save(update_fields=["stuck_since", "working_since", "retry_at"])
    return job


@transaction.atomic
def after_error(job_id: UUID, position: int, error: Exception) -> Job:
    """Count an unexpected error at this position. Skips the image or fails the job after the last attempt."""
    job = Job.objects.get_for_update(job_id)
    ids = error.ids if isinstance(error, ImagesFailed) else ()
    position = error.position if isinstance(error, ImagesFailed) else position
    cause = error.__cause__ if isinstance(error, ImagesFailed) else error
    if job.state != Job.State.RUNNING or job.processed_id != position:
        return job  # cancelled, or another process has processed the batch
    job.attempts, job.working_since = job.attempts + 1, None
    log.error("job.error", job=str(job_id), attempts=job.attempts, images=len(ids), exc_info=error)
    if len(ids) == 1 and job.attempts >= IMAGE_ATTEMPTS:
        _skip(job, ids[0], error_text(cause))
    elif not ids and job.attempts >= JOB_ATTEMPTS:
        return _fail(job, error_text(cause))
    elif len(ids) > 1:
        job.attempts, job.single_until_id = 0, ids[-1]
    job.save(update_fields=["attempts", "working_since", "single_until_id"])
    return job


@transaction.atomic
def after_kill(job_id: UUID, *, batch: int) -> Job:
    """Count an attempt for a process that was killed during a batch; between batches nothing changes.

    From the second attempt on, images are processed one by one. After five attempts at one image, it has failed.
    """
    job = Job.objects.get_for_update(job_id)
    if job.state != Job.State.RUNNING or job.working_since is None:
        return job
    is_single = job.processed_id < job.single_until_id
    job.attempts, job.working_since = job.attempts + 1, None
    ids = next_ids(job, batch) if job.attempts > 1 else []
    if is_single and ids and job.attempts >= JOB_ATTEMPTS:
        if job.images.filter(message=KILLED_MESSAGE).count() >= JOB_ATTEMPTS:
            return _fail(job, KILLED_MESSAGE)  # so many images in one job: they are hardly the cause
        _skip(job, ids[0], KILLED_MESSAGE)
    elif job.attempts >= JOB_ATTEMPTS and not ids:
        return _fail(job, KILLED_MESSAGE)
    elif ids:
        job.single_until_id = max(job.single_until_id, ids[-1])
    job.save(update_fields=["attempts", "working_since", "single_until_id"])
    return job


def _skip(job: Job, image_id: int, message: str) -> None:
    advance(job, image_id, {Outcome.FAILED: 1}, processed=1, failed=1, skipped={image_id: message})


def _fail(job: Job, message: str) -> Job:
    job.error = message
    job.save(update_fields=["error", "attempts", "stuck_since"])
    finish(job, Job.State.FAILED)
    return job


def error_text(error: BaseException | None) -> str:
    """Return the error for users: its type and first line, without credentials in URLs."""
    first = (str(error).strip().splitlines() or [""])[0]
    return CREDENTIALS.sub("://", f"{type(error).__name__}: {first}")[:MAX_MESSAGE]
