"""How far a job is: its row is held while a batch is done, and says where the next one begins."""

from collections import Counter
from collections.abc import Iterable, Mapping
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.models import AuditSource, Job
from rokka.errors import Invalid
from sourceimages.models import Tombstone
from sourceimages.querysets import SourceImageQuerySet
from sourceimages.selection import Selection

TOLD = 100  # pictures that could not be dealt with, and are named


def chosen(job: Job) -> SourceImageQuerySet:
    """The pictures that the job is about, as far as they are there. Raises Invalid."""
    if selection := job.arguments.get("selection"):
        return Selection.from_arguments(job.organization, selection).images()
    living: SourceImageQuerySet = job.organization.images.living()
    return living.matching(job.arguments.get("filters", {}))


def open_tombstone(job: Job) -> Tombstone:
    """What the job deletes to. Raises Invalid where that could not be brought back."""
    found = Tombstone.objects.restorable().filter(pk=job.arguments["tombstone"]).first()
    if found is None:
        raise Invalid("What it deletes could not be brought back: its tombstone has expired meanwhile.")
    return found


@transaction.atomic
def fail(job_id: UUID, message: str) -> Job:
    job = Job.objects.hold(job_id)
    job.error = message
    job.save(update_fields=["error"])
    finish(job, Job.State.FAILED)
    return job


def taken(job_id: UUID) -> Job:
    """The job under its lock, running from now on unless it is over."""
    job = Job.objects.hold(job_id)
    if job.state == Job.State.WAITING:
        job.state = Job.State.RUNNING
        job.started = job.started or timezone.now()
    if job.state == Job.State.RUNNING:
        job.heartbeat = timezone.now()
        job.save(update_fields=["state", "started", "heartbeat"])
    return job


def advance(
    job: Job,
    position: int,
    counts: Mapping[str, int],
    *,
    done: int,
    failed: int = 0,
    failures: Iterable[tuple[str, str]] = (),
) -> None:
    """Everything up to `position` is dealt with. `failures` are hashes with what was wrong with the picture."""
    job.position, job.heartbeat = position, timezone.now()
    job.done += done
    job.failed += failed
    job.report = dict(Counter(job.report) + Counter({name: count for name, count in counts.items() if count}))
    tell(job, failures)
    job.save(update_fields=["position", "heartbeat", "done", "failed", "report", "failures"])


def tell(job: Job, failures: Iterable[tuple[str, str]]) -> None:
    named = [*job.failures, *({"hash": hash, "message": message} for hash, message in failures)]
    job.failures = named[:TOLD]


def done(job: Job) -> Job:
    if job.state == Job.State.RUNNING:
        finish(job, Job.State.DONE)
    return job


def finish(job: Job, state: Job.State) -> None:
    """The end, and one event about all that was done."""
    job.state, job.finished = state, timezone.now()
    job.save(update_fields=["state", "finished"])
    tombstone = job.arguments.get("tombstone")
    record(
        actor_of(job),
        f"job.{state}",
        organization=job.organization,
        target=job.kind,
        target_id=job.pk,
        count=job.done,
        job_id=job.pk,
        tombstone_id=UUID(tombstone) if tombstone else None,
        report=job.report,
    )


def actor_of(job: Job) -> Actor:
    """Who asked for the job is who did what it does."""
    return Actor(AuditSource(job.source), user=job.user, api_key_id=job.api_key_id, address=job.address, job_id=job.pk)
