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
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from organizations import counters
from organizations.audit import TIME, Actor, record
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.database import refused_as, retry_on_conflict
from rokka.errors import Invalid
from sourceimages import acts, indexing, indexstate, ownership, querysets, restoring, undo
from sourceimages.conflicts import FILE, SAME_IMAGE, TOMBSTONE
from sourceimages.errors import InvalidDestination, JobNotFound, JobNotUndoable, JobUnderWay
from sourceimages.jobprogress import actor_of, advance, chosen, done, fail, finish, open_tombstone, taken, tell
from sourceimages.models import ShortHash, SourceImage, StoredFile, Tombstone
from sourceimages.operations.copy import Outcome, copy_images
from sourceimages.operations.delete import bury
from sourceimages.querysets import SourceImageQuerySet
from sourceimages.selection import Selection

BATCH = 2000  # rows
SLICE = 45  # seconds; a task that takes longer goes on in another one
FEW = 500  # rows that pass through Python
INDEX_AGAIN = timedelta(hours=1)  # after a job that built an index failed or was cancelled
TENFOLD = 10  # rows have to become so many times as many before they are worth counting again

COPY_ALL, DELETE_ALL, RESTORE, INDEX = "copy-all", "delete-all", querysets.RESTORE, indexstate.KIND
UNDO = "undo"  # of another job
DELETE, COPY = "delete", "copy"  # of a selection, as are the kinds in acts.ACTS

# What somebody must be granted to start a job of this kind, and to stop it or let it go on.
PERMISSIONS: dict[str, Permission] = {
    COPY_ALL: Permission.IMAGES_COPY_FROM,
    DELETE_ALL: Permission.IMAGES_DELETE_ALL,
    RESTORE: Permission.IMAGES_WRITE,
    INDEX: Permission.IMAGES_DELETE_ALL,
    UNDO: Permission.IMAGES_WRITE,
    DELETE: Permission.IMAGES_WRITE,
    COPY: Permission.IMAGES_COPY_FROM,
    **{kind: act.needs for kind, act in acts.ACTS.items()},
}
TAKES = {  # what each kind of job on a selection is told
    DELETE: frozenset[str](),
    COPY: frozenset({"destination", "overwrite"}),
    **{kind: act.takes for kind, act in acts.ACTS.items()},
}

RESUMABLE = (Job.State.INTERRUPTED, Job.State.CANCELLED, Job.State.FAILED)

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


@transaction.atomic
def restore_all(organization: Organization, tombstone_id: UUID | None = None, *, actor: Actor) -> Job:
    """A job that undoes one deletion, the latest unless named. Raises TombstoneNotFound, JobUnderWay.

    From now on there is time for it: the deletion does not expire for as long as one of today would not. The latest
    deletion is one that a user asked for, never what another hash has replaced.
    """
    tombstone = restoring.restorable(organization, tombstone_id)
    restoring.extend(organization.tombstones.filter(pk=tombstone.pk))
    images = tombstone.images.all()
    arguments = {"tombstone": str(tombstone.pk), "undoes": restoring.description(tombstone)}
    return _begin(organization, RESTORE, arguments, images, actor)


@transaction.atomic
def index(organization: Organization, *, actor: Actor) -> Job:
    """A job that makes anew what all images are searched by. When it is done, the index is current."""
    return _begin(organization, INDEX, {"index": indexstate.begin(organization)}, organization.images.all(), actor)


def index_stale() -> list[Job]:
    """Begin to build each index that is not current, or go on with that; answer the jobs."""
    jobs = [_index_again(organization, wanted) for organization, wanted in indexstate.stale()]
    return [job for job in jobs if job is not None]


def _index_again(organization: Organization, wanted: str) -> Job | None:
    """None where that is under way, or was stopped or failed a short while ago."""
    latest = organization.jobs.filter(kind=INDEX, arguments__index=wanted).order_by("-created", "-id").first()
    if latest is None:
        return index(organization, actor=TIME)
    if latest.state == Job.State.INTERRUPTED:
        return go_on(latest, actor=TIME)
    ended = latest.finished or timezone.now()
    refused = latest.state in (Job.State.FAILED, Job.State.CANCELLED) and ended > timezone.now() - INDEX_AGAIN
    return None if latest.unfinished or refused else index(organization, actor=TIME)


def act(kind: str, selection: Selection, *, actor: Actor, **arguments: Any) -> Job:
    """A job that does something to each picture of a selection: DELETE, COPY or one of acts.ACTS.

    COPY takes `destination`, an organization, and `overwrite`; `set-metadata` takes `changes`, in stored form. Raises
    Invalid for a selection that cannot be searched for, InvalidDestination; TypeError for what can never be done.
    """
    if kind not in TAKES or TAKES[kind] != arguments.keys():
        raise TypeError(f"{kind!r} with {sorted(arguments)} is nothing that is done to a selection")
    images = selection.images()
    if kind == COPY:
        if arguments["destination"] == selection.organization:
            raise InvalidDestination("The destination must be another organization.")
        arguments["destination"] = arguments["destination"].name
    with transaction.atomic():
        if kind == DELETE:
            arguments["tombstone"] = str(bury(selection.organization, Tombstone.Reason.STAFF, actor).pk)
        if selection.in_trash:
            restoring.extend_all(selection.organization.tombstones.filter(pk__in=images.values("tombstone")))
        return _begin(selection.organization, kind, {"selection": selection.to_arguments(), **arguments}, images, actor)


def undo_job(job: Job, *, actor: Actor) -> Job:
    """A job that takes back what another one did, in the organization whose images that has changed.

    Of a deletion it is the job that restores it. Raises JobNotUndoable, JobUnderWay, TombstoneNotFound.
    """
    if job.unfinished:
        raise JobUnderWay(f"The job {job.kind} is {job.state}. Stop it first.")
    if job.kind in (DELETE, DELETE_ALL):
        return restore_all(job.organization, UUID(job.arguments["tombstone"]), actor=actor)
    organization = undo.organization_of(job)
    images = undo.images_of(job, organization) if organization else None
    if organization is None or images is None or not images.exists():
        raise JobNotUndoable(
            f"The history has no change by the job {job.kind}: it made none that could be undone, "
            f"or it is longer ago than {settings.HISTORY_DAYS} days (HISTORY_DAYS)."
        )
    if organization.jobs.unfinished().filter(kind=UNDO, arguments__job=str(job.pk)).exists():
        raise JobUnderWay(f"The job {job.kind} is being undone already.")
    arguments = {"job": str(job.pk), "undone": job.kind}
    with transaction.atomic():
        if undo.makes_deletions(job, organization):
            arguments["tombstone"] = str(bury(organization, Tombstone.Reason.UNDO, actor).pk)
        return _begin(organization, UNDO, arguments, images, actor)


@transaction.atomic
def _begin(
    organization: Organization, kind: str, arguments: dict[str, Any], images: SourceImageQuerySet, actor: Actor
) -> Job:
    images = images.matching(arguments.get("filters", {}))
    refusal = JobUnderWay(f"Everything in {organization.name!r} is being deleted or restored already.")
    with refused_as(refusal, "job_exclusive"):
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
    return job


def cancel(job: Job, *, actor: Actor) -> Job:
    """Ask the job to stop at the next batch; what it has done stays done."""
    return stop(job, Job.State.CANCELLED, actor=actor)


@transaction.atomic
def stop(job: Job, state: Job.State, *, actor: Actor) -> Job:
    job = Job.objects.hold(job.pk)
    if job.unfinished:
        finish(job, state)
        record(actor, "job.stopped", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


@transaction.atomic
def go_on(job: Job, *, actor: Actor) -> Job:
    """Let a job that was stopped, or that failed, go on where it ended. Raises JobUnderWay, TombstoneNotFound."""
    job = Job.objects.hold(job.pk)
    if job.state in RESUMABLE:
        if job.kind == RESTORE:
            restoring.extend(job.organization.tombstones.filter(pk=job.arguments["tombstone"]))
        job.state, job.finished, job.heartbeat, job.error = Job.State.WAITING, None, None, ""
        with refused_as(JobUnderWay("Another job deletes or restores everything here."), "job_exclusive"):
            job.save(update_fields=["state", "finished", "heartbeat", "error"])
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


@retry_on_conflict(*SAME_IMAGE, references=[FILE, TOMBSTONE])
def step(job_id: UUID) -> Job:
    """One batch. What cannot be done at all, such as copying to an organization that is gone, ends the job.

    Raises StorageMismatch, and then the job waits as it is.
    """
    ownership.check_writable()
    job = Job.objects.select_related("organization").get(pk=job_id)
    try:
        return STEPS[job.kind](job_id)
    except Invalid as error:
        return fail(job_id, error.message)


@transaction.atomic
def delete_step(job_id: UUID) -> Job:
    """Living pictures point to the tombstone; locked ones are left, and counted."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = open_tombstone(job)
    if job.position >= job.upto:
        return done(job)
    images = job.organization.images.living().matching(job.arguments["filters"])
    ids = images.between(job.position, job.upto).order_by("id").values_list("id", flat=True)
    end = next(iter(ids[BATCH - 1 : BATCH]), job.upto)
    images = images.between(job.position, end)
    deleted = images.filter(locked=False).update(tombstone=tombstone)
    locked = images.filter(locked=True).count()
    advance(job, end, {"deleted": deleted, "locked": locked}, done=deleted + locked)
    counters.add(job.organization, images=-deleted)
    return job


@transaction.atomic
def index_step(job_id: UUID) -> Job:
    """What is searched is made anew of the documents; those in the trash included."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    built_for = indexstate.made_for(indexstate.language_to_write(job.organization_id))
    if built_for != job.arguments.get("index"):
        raise Invalid("The language of the organization has changed meanwhile. Another job builds the index for it.")
    images = job.organization.images.between(job.position, job.upto)
    batch = images.select_related("organization", "file").order_by("id").select_for_update(of=("self",))[:FEW]
    found = list(batch)
    if not found:
        indexstate.finish(job.organization, built_for)
        return done(job)
    indexing.remove([image.pk for image in found])
    indexing.add(found)
    advance(job, found[-1].pk, {"indexed": len(found)}, done=len(found))
    return job


def copy_step(job_id: UUID) -> Job:
    """Bytes first, outside of any transaction, then the rows of the whole batch with the job's new position."""
    with transaction.atomic():
        job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    destination = Organization.objects.filter(name=job.arguments["destination"]).first()
    if destination is None:
        raise InvalidDestination(f"There is no organization called {job.arguments['destination']!r}.")
    batch = list(chosen(job).between(job.position, job.upto).order_by("id").values_list("id", flat=True)[:BATCH])
    if not batch:
        with transaction.atomic():
            return done(Job.objects.hold(job_id))

    def along(outcomes: Counter[Outcome]) -> bool:
        now = Job.objects.hold(job_id)
        if now.position != job.position or now.state != Job.State.RUNNING:
            return False  # another process has done this batch, or somebody has asked to stop
        counts = {REPORTED[outcome]: count for outcome, count in outcomes.items()}
        failed = outcomes[Outcome.GONE] + outcomes[Outcome.COLLISION] + outcomes[Outcome.PROTECTED]
        advance(now, batch[-1], counts, done=len(batch), failed=failed)
        return True

    overwrite = job.arguments["overwrite"]
    # By the rights that whoever started it has now.
    actor = actor_of(job)
    outcomes = copy_images(job.organization, batch, destination, overwrite=overwrite, actor=actor, along=along)
    _tell_of_copies(job_id, {pk: outcome for pk, outcome in outcomes.items() if outcome in UNTOLD})
    return Job.objects.select_related("organization").get(pk=job_id)


@transaction.atomic
def _tell_of_copies(job_id: UUID, outcomes: Mapping[int, Outcome]) -> None:
    """Name the pictures that could not be copied."""
    if outcomes:
        job = Job.objects.hold(job_id)
        hashes = SourceImage.objects.filter(pk__in=list(outcomes)[:BATCH]).values_list("pk", "hash")
        tell(job, [(hash, UNTOLD[outcomes[pk]]) for pk, hash in hashes])
        job.save(update_fields=["failures"])


STEPS: dict[str, Callable[[UUID], Job]] = {
    COPY_ALL: copy_step,
    DELETE_ALL: delete_step,
    RESTORE: restoring.restore_step,
    INDEX: index_step,
    UNDO: undo.run_batch,
    DELETE: acts.delete_step,
    COPY: copy_step,
    **dict.fromkeys(acts.ACTS, acts.each_step),
}
UNTOLD = {
    Outcome.LOCKED: "It is there already, and locked.",
    Outcome.GONE: "It, or its bytes, were gone before it could be copied.",
    Outcome.COLLISION: "Other bytes with the same sha1 are kept there.",
    Outcome.PROTECTED: "It is protected, and the roles of the user who started the job do not allow copying it.",
}
REPORTED = {
    Outcome.CREATED: "created",
    Outcome.OVERWRITTEN: "overwritten",
    Outcome.EXISTING: "existing",
    Outcome.LOCKED: "locked",
    Outcome.GONE: "gone",
    Outcome.COLLISION: "collision",
    Outcome.PROTECTED: "protected",
}


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
