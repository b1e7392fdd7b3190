"""What is done about a batch that went wrong. How often it did is in the job's row, whoever tries next.

- What may be over in a moment, such as a storage that does not answer, is tried again after a pause that grows, for a
  day; then the job fails.
- An unforeseen error in a batch: its images are tried one by one. One that fails alone three times is recorded as
  failed, and the job goes on behind it.
- An unforeseen error before any image was at hand: after five of them without progress, the job fails.
- A process that is killed while it does a batch counts as an attempt too; five at the same image, and that has failed.
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
KILLED_MESSAGE = "The process that dealt with it was killed."
CREDENTIALS = re.compile(r"://[^\s/@]*@")
MAX_MESSAGE = 300  # characters

log = structlog.get_logger()


@transaction.atomic
def after_outage(job_id: UUID, error: Exception) -> Job:
    """Something did not answer: try again later, by what `retry_at` says. Fails the job after GIVE_UP_AFTER."""
    job = Job.objects.get_for_update(job_id)
    if job.state != Job.State.RUNNING:
        return job
    now = timezone.now()
    job.stuck_since, job.working_since = job.stuck_since or now, None
    stuck = now - job.stuck_since
    job.retry_at = now + min(max(stuck / 2, MIN_PAUSE), MAX_PAUSE)
    if stuck > GIVE_UP_AFTER:
        return _fail(job, f"No progress for {GIVE_UP_AFTER.days} day. {error_text(error)}")
    job.save(update_fields=["stuck_since", "working_since", "retry_at"])
    return job


@transaction.atomic
def after_error(job_id: UUID, position: int, error: Exception) -> Job:
    """Something unforeseen went wrong when the job was at this position."""
    job = Job.objects.get_for_update(job_id)
    ids = error.ids if isinstance(error, ImagesFailed) else ()
    position = error.position if isinstance(error, ImagesFailed) else position
    cause = error.__cause__ if isinstance(error, ImagesFailed) else error
    if job.state != Job.State.RUNNING or job.processed_id != position:
        return job  # stopped, or another process got further
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
    """The process that did the job is gone, killed perhaps by what it did. Nothing happens if it was between batches.

    From the second time on images are dealt with one by one; one at which it happens five times has failed.
    """
    job = Job.objects.get_for_update(job_id)
    if job.state != Job.State.RUNNING or job.working_since is None:
        return job
    alone = job.processed_id < job.single_until_id
    job.attempts, job.working_since = job.attempts + 1, None
    ids = next_ids(job, batch) if job.attempts > 1 else []
    if alone and ids and job.attempts >= JOB_ATTEMPTS:
        if job.images.filter(message=KILLED_MESSAGE).count() >= JOB_ATTEMPTS:
            return _fail(job, KILLED_MESSAGE)  # it is hardly the images
        _skip(job, ids[0], KILLED_MESSAGE)
    elif job.attempts >= JOB_ATTEMPTS and not ids:
        return _fail(job, KILLED_MESSAGE)
    elif ids:
        job.single_until_id = max(job.single_until_id, ids[-1])
    job.save(update_fields=["attempts", "working_since", "single_until_id"])
    return job


def _skip(job: Job, image_id: int, message: str) -> None:
    advance(job, image_id, {Outcome.FAILED: 1}, processed=1, failed=1, left={image_id: message})


def _fail(job: Job, message: str) -> Job:
    job.error = message
    job.save(update_fields=["error", "attempts", "stuck_since"])
    finish(job, Job.State.FAILED)
    return job


def error_text(error: BaseException | None) -> str:
    """The error for people: its kind and first line, without credentials of URLs."""
    first = (str(error).strip().splitlines() or [""])[0]
    return CREDENTIALS.sub("://", f"{type(error).__name__}: {first}")[:MAX_MESSAGE]
