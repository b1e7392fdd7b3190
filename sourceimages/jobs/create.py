"""Asking for a job: each function creates the row, in which the images that it is about are written down."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from organizations.audit import TIME, Actor, record
from organizations.models import Job, Organization
from rokka.core.database import refused_as
from sourceimages.errors import (
    InvalidDestination,
    JobExpired,
    JobNotUndoable,
    JobUnderWay,
    NothingToRetry,
)
from sourceimages.jobs import restoring, snapshot, undo
from sourceimages.jobs.control import go_on
from sourceimages.jobs.kinds import BURIED_AS, COPY, COPY_ALL, DELETE, DELETE_ALL, INDEX, RESTORE, TAKES, UNDO
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImageQuerySet, Tombstone
from sourceimages.operations.delete import bury
from sourceimages.search import index_state

INDEX_AGAIN = timedelta(hours=1)  # after a job that built an index failed or was cancelled
REFUSED = (Job.State.FAILED, Job.State.CANCELLED, Job.State.SUCCEEDED_WITH_ERRORS)  # by which no index was built


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
    return _begin(organization, INDEX, {"index": index_state.begin(organization)}, organization.images.all(), actor)


def index_stale() -> list[Job]:
    """Begin to build each index that is not current, or go on with that; answer the jobs."""
    jobs = [_index_again(organization, wanted) for organization, wanted in index_state.stale()]
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
    if not snapshot.is_kept(job):
        raise JobExpired(f"The job ended more than {snapshot.KEPT.days} days ago: what it skipped is not known.")
    images = snapshot.left_out(job) if only is None else only
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
        snapshot.freeze(job, images, expected=expected)
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
