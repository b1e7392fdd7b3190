"""Long work, in batches: each is one transaction that also moves the job's position, so that none is done twice.

A job may be run by several processes at once, or by one that is killed at any moment: whoever has the job's row does
the next batch, and the row says where that begins.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Q
from django.utils import timezone

from organizations import counters
from organizations.audit import TIME, Actor, record
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.database import refused_as, retry_on_conflict
from rokka.errors import Invalid
from sourceimages import acts, indexing, indexstate, jobretries, jobsnapshot, ownership, querysets, restoring, undo
from sourceimages.conflicts import FILE, SAME_IMAGE, TOMBSTONE
from sourceimages.errors import (
    InvalidDestination,
    JobExpired,
    JobNotFound,
    JobNotUndoable,
    JobUnderWay,
    NothingToRetry,
)
from sourceimages.jobprogress import (
    REMOVED,
    TRANSIENT,
    actor_of,
    advance,
    dealing_with,
    done,
    fail,
    finish,
    next_ids,
    open_tombstone,
    taken,
)
from sourceimages.models import ShortHash, SourceImage, StoredFile, Tombstone
from sourceimages.operations.copy import Outcome, copy_images
from sourceimages.operations.delete import bury
from sourceimages.querysets import SourceImageQuerySet
from sourceimages.selection import Selection

BATCH = 2000  # rows
SLICE = 45  # seconds; a task that takes longer goes on in another one
FEW = 500  # rows that pass through Python
INDEX_AGAIN = timedelta(hours=1)  # after a job that built an index failed or was cancelled
REFUSED = (Job.State.FAILED, Job.State.CANCELLED, Job.State.SUCCEEDED_WITH_ERRORS)  # by which no index was built
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

OF_DELETION = ("tombstone", "undoes")  # arguments that describe a deletion
BURIED_AS = {DELETE: Tombstone.Reason.STAFF, DELETE_ALL: Tombstone.Reason.DELETE_ALL}

RESUMABLE = (Job.State.INTERRUPTED, Job.State.CANCELLED, Job.State.FAILED)

log = structlog.get_logger()


# --- Asking for a job -------------------------------------------------------------------------------------------------


def copy_all(
    source: Organization,
    destination: Organization,
    *,
    overwrite: bool,
    filters: Mapping[str, str] | None = None,
    only: SourceImageQuerySet | None = None,
    expected: str | None = None,
    actor: Actor,
) -> Job:
    """A job that copies all active images of one organization to another, or `only` some of them.

    With `expected`, a fingerprint, it has to be these images. Raises InvalidDestination, SelectionChanged.
    """
    if source == destination:
        raise InvalidDestination("The destination must be another organization.")
    arguments = {"destination": destination.name, "overwrite": overwrite, "filters": dict(filters or {})}
    images = (source.images.living() if only is None else only).matching(filters or {})
    return _begin(source, COPY_ALL, arguments, images, actor, expected)


def delete_all(
    organization: Organization,
    *,
    filters: Mapping[str, str] | None = None,
    only: SourceImageQuerySet | None = None,
    expected: str | None = None,
    actor: Actor,
) -> Job:
    """A job that moves all active images, or `only` some, to the trash by one deletion; locked ones are skipped.

    With `expected`, a fingerprint, it has to be these images. Raises JobUnderWay, SelectionChanged.
    """
    with transaction.atomic():
        tombstone = bury(organization, Tombstone.Reason.DELETE_ALL, actor)
        arguments = {"tombstone": str(tombstone.pk), "filters": dict(filters or {})}
        images = (organization.images.living() if only is None else only).matching(filters or {})
        return _begin(organization, DELETE_ALL, arguments, images, actor, expected)


@transaction.atomic
def restore_all(
    organization: Organization,
    tombstone_id: UUID | None = None,
    *,
    only: SourceImageQuerySet | None = None,
    expected: str | None = None,
    actor: Actor,
) -> Job:
    """A job that undoes one deletion, the latest unless named, or brings `only` some of its images back.

    From now on there is time for it: the deletion does not expire for as long as one of today would not. The latest
    deletion is one that a user asked for, never what another hash has replaced. Raises TombstoneNotFound, JobUnderWay;
    SelectionChanged where `expected`, a fingerprint, is of other images.
    """
    tombstone = restoring.restorable(organization, tombstone_id)
    restoring.extend(organization.tombstones.filter(pk=tombstone.pk))
    images = tombstone.images.all() if only is None else only
    arguments = {"tombstone": str(tombstone.pk), "undoes": restoring.description(tombstone)}
    return _begin(organization, RESTORE, arguments, images, actor, expected)


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
    refused = latest.state in REFUSED and ended > timezone.now() - INDEX_AGAIN
    return None if latest.unfinished or refused else index(organization, actor=TIME)


def act(kind: str, selection: Selection, *, expected: str | None = None, actor: Actor, **arguments: Any) -> Job:
    """A job that does something to each picture of a selection: DELETE, COPY or one of acts.ACTS.

    COPY takes `destination`, an organization, and `overwrite`; `set-metadata` takes `changes`, in stored form. Raises
    Invalid for a selection that cannot be searched for, InvalidDestination; TypeError for what can never be done. With
    `expected`, a fingerprint, the selection has to be these images, or SelectionChanged is raised.
    """
    if kind not in TAKES or TAKES[kind] != arguments.keys():
        raise TypeError(f"{kind!r} with {sorted(arguments)} is nothing that is done to a selection")
    images = selection.confirmed()
    if kind == COPY:
        if arguments["destination"] == selection.organization:
            raise InvalidDestination("The destination must be another organization.")
        arguments["destination"] = arguments["destination"].name
    with transaction.atomic():
        if kind == DELETE:
            arguments["tombstone"] = str(bury(selection.organization, Tombstone.Reason.STAFF, actor).pk)
        if selection.in_trash:
            restoring.extend_all(selection.organization.tombstones.filter(pk__in=images.values("tombstone")))
        arguments = {"selection": selection.to_arguments(), **arguments}
        return _begin(selection.organization, kind, arguments, images, actor, expected)


def retry(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """A new job that does the same to the images that this one skipped or failed with, or `only` to some of them.

    Raises NothingToRetry if there are none, or not yet; JobExpired, JobUnderWay, SelectionChanged.
    """
    if job.unfinished:
        raise NothingToRetry("The job is not over yet.")
    if not jobsnapshot.is_kept(job):
        raise JobExpired(f"The job ended more than {jobsnapshot.KEPT.days} days ago: what it skipped is not known.")
    images = jobsnapshot.left_out(job) if only is None else only
    if not images.exists():
        raise NothingToRetry("There is no image that the job skipped or failed with.")
    arguments = {}
    with transaction.atomic():
        if reason := BURIED_AS.get(job.kind):
            arguments["tombstone"] = str(bury(job.organization, reason, actor).pk)
        return _begin(job.organization, job.kind, retry_arguments(job) | arguments, images, actor, expected)


def retry_arguments(job: Job) -> dict[str, Any]:
    """The arguments of a job that is run again for what this one skipped; without the deletion that it makes."""
    made = {"tombstone"} if job.kind in BURIED_AS else set()
    return {name: value for name, value in job.arguments.items() if name not in made} | {"retry_of": str(job.pk)}


def undo_job(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """A job that takes back what another one did, in the organization whose images that has changed.

    Of a deletion it is the job that restores it. `only` and `expected` are as for the others. Raises JobNotUndoable,
    JobUnderWay, TombstoneNotFound, SelectionChanged.
    """
    if job.unfinished:
        raise JobUnderWay(f"The job {job.kind} is {job.state}. Stop it first.")
    if job.kind in (DELETE, DELETE_ALL):
        tombstone_id = UUID(job.arguments["tombstone"])
        return restore_all(job.organization, tombstone_id, only=only, expected=expected, actor=actor)
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
        return _begin(organization, UNDO, arguments, images if only is None else only, actor, expected)


@transaction.atomic
def _begin(
    organization: Organization,
    kind: str,
    arguments: dict[str, Any],
    images: SourceImageQuerySet,
    actor: Actor,
    expected: str | None = None,
) -> Job:
    """Create the job about these images, as they are now.

    INDEX has no snapshot: it is about everything there is, and what comes meanwhile is indexed as it comes.
    """
    refusal = JobUnderWay(f"Everything in {organization.name!r} is being deleted or restored already.")
    with refused_as(refusal, "job_exclusive"):
        job = Job.objects.create(
            organization=organization,
            kind=kind,
            arguments=arguments,
            user=actor.user,
            api_key_id=actor.api_key_id,
            source=actor.source,
            address=actor.address,
        )
    if kind == INDEX and "retry_of" not in arguments:
        job.total, job.upto = images.count(), images.aggregate(last=Max("id"))["last"] or 0
        job.save(update_fields=["total", "upto"])
    else:
        jobsnapshot.freeze(job, images, expected=expected)
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
    """Let a job that was stopped, or that failed, go on where it ended.

    Raises JobUnderWay, JobExpired, TombstoneNotFound.
    """
    job = Job.objects.hold(job.pk)
    if job.state in RESUMABLE:
        if not jobsnapshot.is_kept(job):
            raise JobExpired(f"The job ended more than {jobsnapshot.KEPT.days} days ago: start a new one.")
        if job.kind == RESTORE:
            restoring.extend(job.organization.tombstones.filter(pk=job.arguments["tombstone"]))
        job.state, job.finished, job.heartbeat, job.error = Job.State.WAITING, None, None, ""
        job.attempts, job.stuck_since = 0, None
        with refused_as(JobUnderWay("Another job deletes or restores everything here."), "job_exclusive"):
            job.save(update_fields=["state", "finished", "heartbeat", "error", "attempts", "stuck_since"])
        record(actor, "job.resumed", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


def interrupted(kind: str, organization: Organization, arguments: Mapping[str, Any], source: str) -> Job | None:
    """The newest job of this kind, with just these arguments, that was interrupted by who began it: the same source."""
    jobs = organization.jobs.filter(kind=kind, source=source, state=Job.State.INTERRUPTED).order_by("-created")
    return next((job for job in jobs if same(job, arguments) and jobsnapshot.is_kept(job)), None)


def same(job: Job, arguments: Mapping[str, Any]) -> bool:
    """Whether the job has these arguments and no others, but for the deletion that it makes or undoes."""
    own = {name: value for name, value in job.arguments.items() if name not in OF_DELETION or name in arguments}
    return own == dict(arguments)


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
    """One batch. Raises what may be over in a moment; the job's row says when it is worth another try.

    What cannot be done at all, such as copying to an organization that was removed, ends the job. An unforeseen error
    is recorded in the job's row, which decides what is tried next. Raises StorageMismatch, and then it waits as it is.
    """
    ownership.check_writable()
    with transaction.atomic():
        job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    try:
        return _run_batch(job)
    except Invalid as error:
        return fail(job_id, error.message)
    except TRANSIENT as error:
        jobretries.after_outage(job_id, error)
        raise
    except Exception as error:  # noqa: BLE001, whatever it is, the job must neither wait for ever nor block others
        return jobretries.after_error(job_id, job.position, error)


@retry_on_conflict(*SAME_IMAGE, references=[FILE, TOMBSTONE])
def _run_batch(job: Job) -> Job:
    return STEPS[job.kind](job.pk)


@transaction.atomic
def delete_step(job_id: UUID) -> Job:
    """Active images point to the tombstone; locked ones are skipped, as is what was removed meanwhile."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = open_tombstone(job)
    ids = next_ids(job, BATCH)
    if not ids:
        return done(job)
    with dealing_with(job, ids):
        images = SourceImage.objects.filter(pk__in=ids)
        deleted = images.living().filter(locked=False).update(tombstone=tombstone)
        left = {} if deleted == len(ids) else _not_deleted(ids, tombstone)
        locked = sum(message == acts.LOCKED for message in left.values())
        report = {"deleted": deleted, "locked": locked, "gone": len(left) - locked}
        advance(job, ids[-1], report, done=len(ids), left=left)
        counters.add(job.organization, images=-deleted)
    return job


def _not_deleted(ids: Sequence[int], tombstone: Tombstone) -> dict[int, str]:
    """Which of these images are not in this deletion, and why."""
    now = dict(SourceImage.objects.filter(pk__in=ids).values_list("id", "tombstone"))
    return {pk: acts.LOCKED if pk in now and now[pk] is None else REMOVED for pk in ids if now.get(pk) != tombstone.pk}


@transaction.atomic
def index_step(job_id: UUID) -> Job:
    """What is searched is made anew of the documents; those in the trash included."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    built_for = indexstate.made_for(indexstate.language_to_write(job.organization_id))
    if built_for != job.arguments.get("index"):
        raise Invalid("The language of the organization has changed meanwhile. Another job builds the index for it.")
    ids = next_ids(job, FEW)
    if not ids:
        if not job.failed:
            indexstate.finish(job.organization, built_for)
        return done(job)
    with dealing_with(job, ids):
        images = job.organization.images.filter(pk__in=ids).select_related("organization", "file").order_by("id")
        found = list(images.select_for_update(of=("self",)))
        indexing.remove([image.pk for image in found])
        indexing.add(found)
        advance(job, ids[-1], {"indexed": len(found)}, done=len(ids))
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
    batch = next_ids(job, BATCH)
    if not batch:
        with transaction.atomic():
            return done(Job.objects.hold(job_id))

    def along(outcomes: Mapping[int, Outcome]) -> bool:
        now = Job.objects.hold(job_id)
        if now.position != job.position or now.state != Job.State.RUNNING:
            return False  # another process has done this batch, or somebody has asked to stop
        counts = Counter(outcomes.values())
        failed = sum(counts[outcome] for outcome in FAILED)
        left = {pk: NOT_COPIED[outcome] for pk, outcome in outcomes.items() if outcome in NOT_COPIED}
        report = {outcome.value: count for outcome, count in counts.items()}
        advance(now, batch[-1], report, done=len(batch), failed=failed, left=left)
        return True

    # By the rights that whoever started it has now.
    overwrite = job.arguments["overwrite"]
    with dealing_with(job, batch):
        copy_images(job.organization, batch, destination, overwrite=overwrite, actor=actor_of(job), along=along)
    return Job.objects.select_related("organization").get(pk=job_id)


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
NOT_COPIED = {  # an image that is there already, and was not to be overwritten, is no error
    Outcome.LOCKED: "It is there already, and locked.",
    Outcome.GONE: "It, or its bytes, were gone before it could be copied.",
    Outcome.COLLISION: "Other bytes with the same sha1 are kept there.",
    Outcome.PROTECTED: "It is protected, and the roles of the user who started the job do not allow copying it.",
}
FAILED = (Outcome.GONE, Outcome.COLLISION)  # the others were skipped


def stalled(*, seconds: float) -> list[UUID]:
    """Jobs that are to be done, and of which nobody has been heard for so long; not those that wait for their time."""
    now = timezone.now()
    long_ago: datetime = now - timedelta(seconds=seconds)
    silent = Q(heartbeat__lt=long_ago) | Q(heartbeat=None, created__lt=long_ago) | Q(retry_at__lte=now)
    found = Job.objects.unfinished().filter(silent).exclude(retry_at__gt=now)
    return list(found.order_by("created").values_list("pk", flat=True))


def waits(job_id: UUID) -> bool:
    """Whether the job waits for something that did not answer, and its time has not come."""
    return Job.objects.filter(pk=job_id, retry_at__gt=timezone.now()).exists()


def killed(job_id: UUID) -> None:
    """Whoever did the job last is gone. It counts as an attempt if that was in the middle of a batch."""
    jobretries.after_kill(job_id, batch=BATCH)


def count_rows() -> None:
    """Let PostgreSQL look at the tables now, not a minute later.

    Of an organization that was empty when it last looked, it believes that any index finds the one row there is.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            for model in SourceImage, StoredFile, ShortHash:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
