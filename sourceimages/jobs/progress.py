"""How far a job is: its row is held while a batch is done, and says where the next one begins."""

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

MAX_FAILURES = 100  # images that were skipped or failed, and are named
TRANSIENT = (Unavailable, Conflict, OperationalError)  # what may be over in a moment


class ImagesFailed(Exception):
    """Something unforeseen, its cause, while the job dealt with these images, of which nothing was done."""

    def __init__(self, position: int, ids: Sequence[int]) -> None:
        super().__init__(f"images {ids[0]} to {ids[-1]}")
        self.position, self.ids = position, ids


@contextmanager
def processing(job: Job, ids: Sequence[int]) -> Iterator[None]:
    """What goes wrong within is about one of these images, not about the job as a whole. Raises ImagesFailed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (InvalidInput, StaleRead, *TRANSIENT)):
            raise
        if isinstance(error, DatabaseError) and conflict_in(
            error, IMAGE_CONSTRAINTS, [FILE_REFERENCE, TOMBSTONE_REFERENCE]
        ):
            raise  # another transaction was faster: the whole batch runs again
        raise ImagesFailed(job.processed_id, ids) from error


def next_ids(job: Job, most: int) -> list[int]:
    """The images of the next batch, by ascending id; one at a time where a batch has failed. Empty at the end."""
    if job.processed_id < job.single_until_id:
        most = 1
    if job.frozen:
        return snapshot.next_ids(job, most)
    images = selected_images(job).in_id_range(job.processed_id, job.last_id)
    return list(images.order_by("id").values_list("id", flat=True)[:most])


def selected_images(job: Job) -> SourceImageQuerySet:
    """What a job is about that has no snapshot: all images, or what matches at this moment. Raises InvalidInput."""
    if selection := job.params.get("selection"):
        return Selection.from_json(job.organization, selection).images()
    images: SourceImageQuerySet = job.organization.images.all()
    if "filters" not in job.params:
        tombstone = job.params.get("deletion_id")
        return images.filter(tombstone=tombstone) if tombstone else images
    return images.active().filtered(job.params["filters"])


def restorable_tombstone(params: Mapping[str, Any]) -> Tombstone:
    """The deletion that a job with these parameters adds to. Raises InvalidInput if it can't be restored any more."""
    found = Tombstone.objects.restorable().filter(pk=params["deletion_id"]).first()
    if found is None:
        raise InvalidInput("What it deletes could not be brought back: its tombstone has expired meanwhile.")
    return found


@transaction.atomic
def fail(job_id: UUID, message: str) -> Job:
    job = Job.objects.get_for_update(job_id)
    job.error = message
    job.save(update_fields=["error"])
    finish(job, Job.State.FAILED)
    return job


def claim(job_id: UUID) -> Job:
    """The job under its lock, running from now on unless it is over."""
    job = Job.objects.get_for_update(job_id)
    if job.state == Job.State.QUEUED:
        job.state = Job.State.RUNNING
        job.started = job.started or timezone.now()
    if job.state == Job.State.RUNNING:
        job.heartbeat = job.working_since = timezone.now()
        job.retry_at = None
        job.save(update_fields=["state", "started", "heartbeat", "working_since", "retry_at"])
    return job


PROGRESS = (
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
    left: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Everything up to `position` is dealt with, `processed` images. `left` are the ids of those that were skipped or
    failed, with the reason for people; `failed` of them failed, the others were skipped.
    """
    snapshot.settle(job, job.processed_id, position, left)
    job.processed_id, job.heartbeat = position, timezone.now()
    job.processed += processed
    job.failed += failed
    job.skipped += len(left) - failed
    if job.total is not None and not job.frozen:
        job.total = max(job.total, job.processed)  # without a snapshot, images can come into its range
    job.counts = dict(
        Counter(job.counts) + Counter({outcome.value: count for outcome, count in counts.items() if count})
    )
    job.errors = [*job.errors, *_with_hashes(left, MAX_FAILURES - len(job.errors))]
    job.attempts, job.working_since, job.stuck_since, job.retry_at = 0, None, None, None
    job.save(update_fields=PROGRESS)


def _with_hashes(left: Mapping[int, str], most: int) -> list[dict[str, str]]:
    """The first of these images that have a row still, by their hash."""
    if not left or most <= 0:
        return []
    hashes = SourceImage.objects.filter(pk__in=list(left)[:most]).order_by("id").values_list("id", "hash")
    return [{"hash": hash, "message": left[pk]} for pk, hash in hashes]


def complete(job: Job) -> Job:
    if job.state == Job.State.RUNNING:
        finish(job, Job.State.SUCCEEDED_WITH_ERRORS if job.failed or job.skipped else Job.State.SUCCEEDED)
    return job


def finish(job: Job, state: Job.State, *, actor: Actor | None = None) -> None:
    """End the job and record one audit event about all that it did, by the actor who ended it, if any."""
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
    """Who asked for the job is who did what it does."""
    return Actor(AuditSource(job.source), user=job.user, api_key_id=job.api_key_id, address=job.address, job_id=job.pk)
