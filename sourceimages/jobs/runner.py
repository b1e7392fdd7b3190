"""Doing jobs. One may be run by several processes at once, or by one that is killed at any moment.

Whoever has the job's row does the next batch, and the row says where that begins.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from organizations.models import Job
from rokka.core.database import retry_on_conflict
from rokka.core.errors import InvalidInput
from sourceimages import ownership
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS, TOMBSTONE_REFERENCE
from sourceimages.jobs import batches, retries
from sourceimages.jobs.kinds import (
    COPY_ALL,
)
from sourceimages.jobs.progress import TRANSIENT, claim, fail
from sourceimages.jobs.registry import KINDS
from sourceimages.models import ShortHash, SourceImage, StoredFile

TIME_SLICE = 45  # seconds; a task that takes longer goes on in another one
ANALYZE_GROWTH = 10  # rows have to become so many times as many before they are worth counting again


def run(job_id: UUID, *, seconds: float | None = None, watch: Callable[[Job], None] = lambda job: None) -> Job:
    """Do batches until the job is finished or the time is over. `watch` is called after each."""
    deadline = time.monotonic() + seconds if seconds is not None else None
    worth_counting = batches.COPY_BATCH
    while True:
        job = run_one_batch(job_id)
        watch(job)
        if job.kind == COPY_ALL and job.processed >= (worth_counting if job.unfinished else batches.COPY_BATCH):
            analyze_tables()
            worth_counting = ANALYZE_GROWTH * job.processed
        if not job.unfinished:
            return job
        if deadline is not None and time.monotonic() > deadline:
            return job


def run_one_batch(job_id: UUID) -> Job:
    """One batch. Raises what may be over in a moment; the job's row says when it is worth another try.

    What cannot be done at all, such as copying to an organization that was removed, ends the job. An unforeseen error
    is recorded in the job's row, which decides what is tried next. Raises StorageMismatch, and then it waits as it is.
    """
    ownership.check_writable()
    with transaction.atomic():
        job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    try:
        return _run_batch(job)
    except InvalidInput as error:
        return fail(job_id, error.message)
    except TRANSIENT as error:
        retries.after_outage(job_id, error)
        raise
    except Exception as error:  # noqa: BLE001, whatever it is, the job must neither wait for ever nor block others
        return retries.after_error(job_id, job.processed_id, error)


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE, TOMBSTONE_REFERENCE])
def _run_batch(job: Job) -> Job:
    return KINDS[job.kind].run_batch(job.pk)


def stalled(*, seconds: float) -> list[UUID]:
    """Jobs that are to be done, and of which nobody has been heard for so long; not those that wait for their time."""
    now = timezone.now()
    long_ago: datetime = now - timedelta(seconds=seconds)
    silent = Q(heartbeat__lt=long_ago) | Q(heartbeat=None, created__lt=long_ago) | Q(retry_at__lte=now)
    found = Job.objects.unfinished().filter(silent).exclude(retry_at__gt=now)
    return list(found.order_by("created").values_list("pk", flat=True))


def is_waiting(job_id: UUID) -> bool:
    """Whether the job waits for something that did not answer, and its time has not come."""
    return Job.objects.filter(pk=job_id, retry_at__gt=timezone.now()).exists()


def handle_killed(job_id: UUID) -> None:
    """Whoever did the job last is gone. It counts as an attempt if that was in the middle of a batch."""
    retries.after_kill(job_id, batch=batches.COPY_BATCH)


def analyze_tables() -> None:
    """Let PostgreSQL look at the tables now, not a minute later.

    Of an organization that was empty when it last looked, it believes that any index finds the one row there is.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            for model in SourceImage, StoredFile, ShortHash:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
