"""Run jobs. Several processes can run one job at once, and any of them can be killed at any time.

The process that locks the job's row runs the next batch, from the position in the row.
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
from rokka.core.errors import InvalidInput, Unavailable
from sourceimages import ownership
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS, TOMBSTONE_REFERENCE
from sourceimages.jobs import batches, retries
from sourceimages.jobs.progress import TRANSIENT, claim, fail
from sourceimages.jobs.registry import KINDS
from sourceimages.models import ShortHash, SourceImage, StoredFile

TIME_SLICE = 45  # seconds; then the task ends and another one continues the job


def run(job_id: UUID, *, seconds: float | None = None, on_progress: Callable[[Job], None] = lambda job: None) -> Job:
    """Run batches until the job has finished or `seconds` have passed; `on_progress` is called after each batch."""
    deadline = time.monotonic() + seconds if seconds is not None else None
    _analyze_new_tables()
    while True:
        job = run_one_batch(job_id)
        on_progress(job)
        if not job.unfinished:
            return job
        if deadline is not None and time.monotonic() > deadline:
            return job


def run_one_batch(job_id: UUID) -> Job:
    """Run one batch and return the job.

    InvalidInput, such as a destination that no longer exists, fails the job. An unexpected error is counted in the
    job's row, see `retries`. A transient error is raised after `retry_at` was set. Raises StorageMismatch, and then
    nothing has changed.
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
    except Exception as error:  # noqa: BLE001 (whatever it is, the job must not block other jobs)
        return retries.after_error(job_id, job.processed_id, error)


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE, TOMBSTONE_REFERENCE])
def _run_batch(job: Job) -> Job:
    if job.kind not in KINDS:  # during an upgrade, a new server can start jobs that an old worker does not know
        raise Unavailable(f"This version does not know jobs of the kind {job.kind!r}.")
    return KINDS[job.kind].run_batch(job.pk)


def stalled(*, seconds: float) -> list[UUID]:
    """Return unfinished jobs without a heartbeat for `seconds`, and those whose `retry_at` has come."""
    now = timezone.now()
    long_ago: datetime = now - timedelta(seconds=seconds)
    no_heartbeat = Q(heartbeat__lt=long_ago) | Q(heartbeat=None, created__lt=long_ago) | Q(retry_at__lte=now)
    found = Job.objects.unfinished().filter(no_heartbeat).exclude(retry_at__gt=now)
    return list(found.order_by("created").values_list("pk", flat=True))


def is_waiting(job_id: UUID) -> bool:
    """Return whether the job waits for `retry_at` after a transient error."""
    return Job.objects.filter(pk=job_id, retry_at__gt=timezone.now()).exists()


def handle_killed(job_id: UUID) -> None:
    """Count an attempt if the process that ran the job was killed in the middle of a batch."""
    retries.after_kill(job_id, batch=batches.COPY_BATCH)


def _analyze_new_tables() -> None:
    """Count tables of PostgreSQL that it has never counted, as in the first minute of an installation.

    It assumes that hardly any of their images are active, and reads an index of the organization from end to end.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return
    names = [model._meta.db_table for model in (SourceImage, StoredFile, ShortHash)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE oid = ANY(%s::regclass[]) AND reltuples < 0", [names])
        for (name,) in cursor.fetchall():
            cursor.execute(f"ANALYZE {connection.ops.quote_name(name)}")
