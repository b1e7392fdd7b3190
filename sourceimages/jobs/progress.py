"""The progress of a job, saved in its row, which is locked while the results of a batch are saved."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, transaction
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.models import AuditSource, Job
from rokka.core.database import StaleRead, conflict_in
from rokka.core.errors import Conflict, InvalidInput, Unavailable
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS, TOMBSTONE_REFERENCE
from sourceimages.jobs import snapshot
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImage, SourceImageQuerySet, Tombstone
from sourceimages.outcomes import Outcome

MAX_FAILURES = 100  # entries of Job.errors; `failed` and `skipped` count all
TRANSIENT = (Unavailable, Conflict, OperationalError)  # retried later


class ImagesFailed(Exception):
    """An unexpected error, the cause, rolled back the batch with these images."""

    def __init__(self, position: int, ids: Sequence[int]) -> None:
        super().__init__(f"images {ids[0]} to {ids[-1]}")
        self.position, self.ids = position, ids


@contextmanager
def processing(job: Job, ids: Sequence[int]) -> Iterator[None]:
    """Raise ImagesFailed for an unexpected error: its cause is one of these images, not the job as a whole."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (InvalidInput, StaleRead, *TRANSIENT)):
            raise
        if isinstance(error, DatabaseError) and conflict_in(
            error, IMAGE_CONSTRAINTS, [FILE_REFERENCE, TOMBSTONE_REFERENCE]
        ):
            raise  # a conflict with another transaction: the batch runs again
        raise ImagesFailed(job.processed_id, ids) from error


def next_ids(job: Job, limit: int) -> list[int]:
    """Return the ids of the next batch, ascending; one id where a batch has failed, none at the end."""
    if job.processed_id < job.single_until_id:
        limit = 1
    if job.frozen:
        return snapshot.next_ids(job, limit)
    images = selected_images(job).in_id_range(job.processed_id, job.last_id)
    return list(images.order_by("id").values_list("id", flat=True)[:limit])


def selected_images(job: Job) -> SourceImageQuerySet:
    """Return the images of a job without a snapshot: those that match now, or all. Raises InvalidInput."""
    if selection := job.params.get("selection"):
        return Selection.from_json(job.organization, selection).images()
    images: SourceImageQuerySet = job.organization.images.all()
    if "filters" not in job.params:
        tombstone = job.params.get("deletion_id")
        return images.filter(tombstone=tombstone) if tombstone else images
    return images.active().filtered(job.params["filters"])


def restorable_tombstone(params: Mapping[str, Any]) -> Tombstone:
    """Return the deletion that the job adds images to. Raises InvalidInput if it has expired."""
    tombstone = Tombstone.objects.restorable().filter(pk=params["deletion_id"]).first()
    if tombstone is None:
        raise InvalidInput("The deletion of this job has expired, so its images couldn't be restored. Start a new job.")
    return tombstone


@transaction.atomic
def fail(job_id: UUID, message: str) -> Job:
    """End the job as failed, with this message for users."""
    job = Job.objects.get_for_update(job_id)
    job.error = message
    job.save(update_fields=["error"])
    finish(job, Job.State.FAILED)
    return job


def claim(job_id: UUID) -> Job:
    """Lock the job's row and return it; a queued job is running from now on, a finished one doesn't change."""
    job = Job.objects.get_for_update(job_id)
    if job.state == Job.State.QUEUED:
        job.state = Job.State.RUNNING
        job.started = job.started or timezone.now()
    if job.state == Job.State.RUNNING:
        job.heartbeat = job.working_since = timezone.now()
        job.retry_at = None
        job.save(update_fields=["state", "started", "heartbeat", "working_since", "retry_at"])
    return job


PROGRESS_FIELDS = (
    *("processed_id", "heartbeat", "total", "processed", "failed", "skipped", "counts", "errors"),
    *("attempts", "working_since", "stuck_since", "retry_at"),
)


def advance(
    job: Job,
    position: int,
    counts: Mapping[Outcome, int],
    *,
    processed: int,
    failed: int = 0,
    skipped: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Save that all images up to the id `position` are processed, `processed` of them in this batch.

    `skipped` has the reason, for users, by the id of each image that was skipped or failed; `failed` of them failed.
    """
    snapshot.settle(job, job.processed_id, position, skipped)
    job.processed_id, job.heartbeat = position, timezone.now()
    job.processed += processed
    job.failed += failed
    job.skipped += len(skipped) - failed
    if job.total is not None and not job.frozen:
        job.total = max(job.total, job.processed)  # without a snapshot, images can be added while the job runs
    job.counts = dict(
        Counter(job.counts) + Counter({outcome.value: count for outcome, count in counts.items() if count})
    )
    job.errors = [*job.errors, *_with_hashes(skipped, MAX_FAILURES - len(job.errors))]
    job.attempts, job.working_since, job.stuck_since, job.retry_at = 0, None, None, None
    job.save(update_fields=PROGRESS_FIELDS)


def _with_hashes(skipped: Mapping[int, str], limit: int) -> list[dict[str, str]]:
    """Return hash and message of the first `limit` images, except those whose row was deleted."""
    if not skipped or limit <= 0:
        return []
    hashes = SourceImage.objects.filter(pk__in=list(skipped)[:limit]).order_by("id").values_list("id", "hash")
    return [{"hash": hash, "message": skipped[pk]} for pk, hash in hashes]


def complete(job: Job) -> Job:
    """End a running job that has processed all images; with errors if any image was skipped or failed."""
    if job.state == Job.State.RUNNING:
        finish(job, Job.State.SUCCEEDED_WITH_ERRORS if job.failed or job.skipped else Job.State.SUCCEEDED)
    return job


def finish(job: Job, state: Job.State, *, actor: Actor | None = None) -> None:
    """End the job and record one audit event with its counts. `actor` is the user who ended it, if any."""
    job.state, job.finished, job.working_since, job.retry_at = state, timezone.now(), None, None
    job.save(update_fields=["state", "finished", "working_since", "retry_at"])
    tombstone = job.params.get("deletion_id")
    record(
        actor or actor_of(job),
        f"job.{state}",
        organization=job.organization,
        target=job.kind,
        target_id=job.pk,
        count=job.processed,
        job_id=job.pk,
        tombstone_id=UUID(tombstone) if tombstone else None,
        counts=job.counts,
    )


def actor_of(job: Job) -> Actor:
    """Return the actor of the changes that the job makes: the user who started it."""
    return Actor(AuditSource(job.source), user=job.user, api_key_id=job.api_key_id, address=job.address, job_id=job.pk)
