"""Long work, in batches: each is one transaction that also moves the job's position, so that none is done twice.

A job may be run by several processes at once, or by one that is killed at any moment: whoever has the job's row does
the next batch, and the row says where that begins.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Max
from django.utils import timezone

from organizations import counters
from organizations.audit import Actor, record
from organizations.models import AuditSource, Job, Organization
from rokka.errors import Invalid
from sourceimages import indexing
from sourceimages.errors import InvalidDestination, JobNotFound, JobUnderWay, TombstoneNotFound
from sourceimages.models import ShortHash, SourceImage, StoredFile, Tombstone
from sourceimages.operations.copy import Outcome, copy_images
from sourceimages.operations.delete import bury
from sourceimages.querysets import SourceImageQuerySet
from sourceimages.races import lost_race

BATCH = 2000  # rows
SLICE = 45  # seconds; a task that takes longer goes on in another one
FEW = 500  # rows that pass through Python
TENFOLD = 10  # rows have to become so many times as many before they are worth counting again

COPY_ALL, DELETE_ALL, RESTORE, INDEX = "copy-all", "delete-all", "restore", "index"

log = structlog.get_logger()


# --- Asking for a job -------------------------------------------------------------------------------------------------


def copy_all(
    source: Organization,
    destination: Organization,
    *,
    overwrite: bool,
    filters: Mapping[str, str] | None = None,
    actor: Actor,
) -> Job:
    """A job that copies all living pictures of one organization to another. Raises InvalidDestination."""
    if source == destination:
        raise InvalidDestination("The destination must be another organization.")
    arguments = {"destination": destination.name, "overwrite": overwrite, "filters": dict(filters or {})}
    return _begin(source, COPY_ALL, arguments, source.images.living(), actor)


def delete_all(organization: Organization, *, filters: Mapping[str, str] | None = None, actor: Actor) -> Job:
    """A job that moves all living pictures but the locked ones to the trash, with one tombstone. Raises JobUnderWay."""
    with transaction.atomic():
        tombstone = bury(organization, Tombstone.Reason.DELETE_ALL, actor)
        arguments = {"tombstone": str(tombstone.pk), "filters": dict(filters or {})}
        return _begin(organization, DELETE_ALL, arguments, organization.images.living(), actor)


def restore_all(organization: Organization, tombstone_id: UUID | None = None, *, actor: Actor) -> Job:
    """A job that undoes one act of deleting, the latest unless named. Raises TombstoneNotFound, JobUnderWay."""
    tombstones = organization.tombstones.restorable().order_by("-deleted_at", "id")
    if tombstone_id is not None:
        tombstones = tombstones.filter(pk=tombstone_id)
    tombstone = tombstones.first()
    if tombstone is None:
        raise TombstoneNotFound("There is no such act of deleting that can still be undone.")
    return _begin(organization, RESTORE, {"tombstone": str(tombstone.pk)}, tombstone.images.all(), actor)


def index(organization: Organization, *, actor: Actor) -> Job:
    """A job that makes anew what all pictures are searched by."""
    return _begin(organization, INDEX, {}, organization.images.all(), actor)


def _begin(
    organization: Organization, kind: str, arguments: dict[str, Any], images: SourceImageQuerySet, actor: Actor
) -> Job:
    images = images.matching(arguments.get("filters", {}))
    try:
        with transaction.atomic():
            job = Job.objects.create(
                organization=organization,
                kind=kind,
                arguments=arguments,
                total=images.count(),
                upto=images.aggregate(last=Max("id"))["last"] or 0,
                user=actor.user,
                api_key_id=actor.api_key_id,
                source=actor.source,
                address=actor.address,
            )
            tombstone = arguments.get("tombstone")
            record(
                actor,
                "job.started",
                organization=organization,
                target=kind,
                target_id=job.pk,
                count=job.total or 0,
                job_id=job.pk,
                tombstone_id=UUID(tombstone) if tombstone else None,
                **{name: value for name, value in arguments.items() if name != "tombstone"},
            )
    except IntegrityError as error:
        raise JobUnderWay(f"Everything in {organization.name!r} is being deleted or restored already.") from error
    return job


def cancel(job: Job, *, actor: Actor) -> Job:
    """Ask the job to stop at the next batch; what it has done stays done."""
    return stop(job, Job.State.CANCELLED, actor=actor)


@transaction.atomic
def stop(job: Job, state: Job.State, *, actor: Actor) -> Job:
    job = Job.objects.hold(job.pk)
    if job.unfinished:
        _finish(job, state)
        record(actor, "job.stopped", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


@transaction.atomic
def go_on(job: Job, *, actor: Actor) -> Job:
    """Let a job that a person interrupted go on where it stopped. Raises JobUnderWay."""
    job = Job.objects.hold(job.pk)
    if job.state == Job.State.INTERRUPTED:
        job.state, job.finished = Job.State.WAITING, None
        try:
            with transaction.atomic():
                job.save(update_fields=["state", "finished"])
        except IntegrityError as error:
            raise JobUnderWay("Another job deletes or restores everything here.") from error
        record(actor, "job.resumed", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


def interrupted(kind: str, organization: Organization, arguments: Mapping[str, Any]) -> Job | None:
    """The newest job of this kind, with these arguments, that a person interrupted."""
    jobs = organization.jobs.filter(kind=kind, state=Job.State.INTERRUPTED).order_by("-created")
    return next((job for job in jobs if arguments.items() <= job.arguments.items()), None)


def get(organization: Organization, job_id: str) -> Job:
    try:
        job = organization.jobs.filter(pk=UUID(job_id)).first()
    except ValueError:
        job = None
    if job is None:
        raise JobNotFound("There is no such job.")
    return job


# --- Doing it ---------------------------------------------------------------------------------------------------------


def run(job_id: UUID, *, seconds: float | None = None, watch: Callable[[Job], None] = lambda job: None) -> Job:
    """Do batches until the job is finished or the time is over. `watch` is called after each."""
    deadline = time.monotonic() + seconds if seconds is not None else None
    worth_counting = BATCH
    while True:
        job = step(job_id)
        watch(job)
        if job.kind == COPY_ALL and job.done >= (worth_counting if job.unfinished else BATCH):
            count_rows()
            worth_counting = TENFOLD * job.done
        if not job.unfinished:
            return job
        if deadline is not None and time.monotonic() > deadline:
            return job


def step(job_id: UUID) -> Job:
    """One batch. What cannot be done at all, such as copying to an organization that is gone, ends the job."""
    job = Job.objects.select_related("organization").get(pk=job_id)
    try:
        return STEPS[job.kind](job_id)
    except Invalid as error:
        return _fail(job_id, error.message)
    except DatabaseError as error:  # somebody made a picture that was about to come back: look again
        if not lost_race(error):
            raise
        return job


@transaction.atomic
def _fail(job_id: UUID, message: str) -> Job:
    job = Job.objects.hold(job_id)
    job.error = message
    job.save(update_fields=["error"])
    _finish(job, Job.State.FAILED)
    return job


@transaction.atomic
def delete_step(job_id: UUID) -> Job:
    """Living pictures point to the tombstone; locked ones are left, and counted."""
    job = _taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    if not Tombstone.objects.restorable().filter(pk=job.arguments["tombstone"]).exists():
        raise Invalid("What it deletes could not be brought back: its tombstone has expired meanwhile.")
    if job.position >= job.upto:
        return _done(job)
    images = job.organization.images.living().matching(job.arguments["filters"])
    ids = images.between(job.position, job.upto).order_by("id").values_list("id", flat=True)
    end = next(iter(ids[BATCH - 1 : BATCH]), job.upto)
    images = images.between(job.position, end)
    deleted = images.filter(locked=False).update(tombstone=UUID(job.arguments["tombstone"]))
    locked = images.filter(locked=True).count()
    _advance(job, end, {"deleted": deleted, "locked": locked}, done=deleted + locked)
    counters.add(job.organization, images=-deleted)
    return job


@transaction.atomic
def restore_step(job_id: UUID) -> Job:
    """Pictures lose their pointer to the tombstone; those of which there is a living one stay, and are counted."""
    job = _taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = Tombstone.objects.restorable().filter(pk=job.arguments["tombstone"]).first()
    in_trash = tombstone.images.between(job.position, job.upto) if tombstone else SourceImage.objects.none()
    batch = dict(in_trash.order_by("id").values_list("id", "hash")[:BATCH])
    if not batch:
        return _done(job)
    held = SourceImage.objects.filter(pk__in=batch, tombstone=tombstone).order_by("id").select_for_update()
    there = set(held.values_list("id", flat=True))
    living = set(job.organization.images.living().filter(hash__in=batch.values()).values_list("hash", flat=True))
    back = {hash: pk for pk, hash in batch.items() if pk in there and hash not in living}
    count = SourceImage.objects.filter(pk__in=back.values()).update(tombstone=None)
    _advance(job, max(batch), {"restored": count, "existing": len(there) - count}, done=len(batch))
    counters.add(job.organization, images=count)
    return job


@transaction.atomic
def index_step(job_id: UUID) -> Job:
    """What is searched is made anew of the documents; those in the trash included."""
    job = _taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    images = job.organization.images.between(job.position, job.upto)
    batch = images.select_related("organization", "file").order_by("id").select_for_update(of=("self",))[:FEW]
    found = list(batch)
    if not found:
        return _done(job)
    indexing.remove([image.pk for image in found])
    indexing.add(found)
    _advance(job, found[-1].pk, {"indexed": len(found)}, done=len(found))
    return job


def copy_step(job_id: UUID) -> Job:
    """Bytes first, outside of any transaction, then the rows of the whole batch with the job's new position."""
    with transaction.atomic():
        job = _taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    destination = Organization.objects.filter(name=job.arguments["destination"]).first()
    if destination is None:
        raise InvalidDestination(f"There is no organization called {job.arguments['destination']!r}.")
    images = job.organization.images.living().matching(job.arguments["filters"])
    batch = list(images.between(job.position, job.upto).order_by("id").values_list("id", flat=True)[:BATCH])
    if not batch:
        with transaction.atomic():
            return _done(Job.objects.hold(job_id))

    def along(outcomes: Counter[Outcome]) -> bool:
        now = Job.objects.hold(job_id)
        if now.position != job.position or now.state != Job.State.RUNNING:
            return False  # another process has done this batch, or somebody has asked to stop
        counts = {REPORTED[outcome]: count for outcome, count in outcomes.items()}
        failed = outcomes[Outcome.GONE] + outcomes[Outcome.COLLISION]
        _advance(now, batch[-1], counts, done=len(batch), failed=failed)
        return True

    overwrite = job.arguments["overwrite"]
    copy_images(job.organization, batch, destination, overwrite=overwrite, recorded_by=None, along=along)
    return Job.objects.select_related("organization").get(pk=job_id)


STEPS: dict[str, Callable[[UUID], Job]] = {
    COPY_ALL: copy_step,
    DELETE_ALL: delete_step,
    RESTORE: restore_step,
    INDEX: index_step,
}
REPORTED = {
    Outcome.CREATED: "created",
    Outcome.OVERWRITTEN: "overwritten",
    Outcome.EXISTING: "existing",
    Outcome.LOCKED: "locked",
    Outcome.GONE: "gone",
    Outcome.COLLISION: "collision",
}


def _taken(job_id: UUID) -> Job:
    """The job under its lock, running from now on unless it is over."""
    job = Job.objects.hold(job_id)
    if job.state == Job.State.WAITING:
        job.state = Job.State.RUNNING
        job.started = job.started or timezone.now()
    if job.state == Job.State.RUNNING:
        job.heartbeat = timezone.now()
        job.save(update_fields=["state", "started", "heartbeat"])
    return job


def _advance(job: Job, position: int, counts: Mapping[str, int], *, done: int, failed: int = 0) -> None:
    job.position, job.heartbeat = position, timezone.now()
    job.done += done
    job.failed += failed
    job.report = dict(Counter(job.report) + Counter({name: count for name, count in counts.items() if count}))
    job.save(update_fields=["position", "heartbeat", "done", "failed", "report"])


def _done(job: Job) -> Job:
    if job.state == Job.State.RUNNING:
        _finish(job, Job.State.DONE)
    return job


def _finish(job: Job, state: Job.State) -> None:
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
    return Actor(AuditSource(job.source), user=job.user, api_key_id=job.api_key_id, address=job.address)


def stalled(*, seconds: float) -> list[UUID]:
    """Jobs that are to be done, and of which nobody has been heard for so long."""
    long_ago: datetime = timezone.now() - timedelta(seconds=seconds)
    unfinished = Job.objects.unfinished()
    silent = unfinished.filter(heartbeat__lt=long_ago) | unfinished.filter(heartbeat=None, created__lt=long_ago)
    return list(silent.order_by("created").values_list("pk", flat=True))


def count_rows() -> None:
    """Let PostgreSQL look at the tables now, not a minute later.

    Of an organization that was empty when it last looked, it believes that any index finds the one row there is.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            for model in SourceImage, StoredFile, ShortHash:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
