"""Asking for a job: each function creates the row, in which the images that it is about are written down."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from organizations.audit import SYSTEM, Actor, record
from organizations.models import Job, Organization
from rokka.core.database import translate_conflict
from sourceimages.errors import (
    InvalidDestination,
    JobExpired,
    JobInProgress,
    JobNotUndoable,
    NothingToRetry,
)
from sourceimages.jobs import restoring, snapshot, undo
from sourceimages.jobs.bulk_actions import BULK_ACTIONS
from sourceimages.jobs.control import resume
from sourceimages.jobs.kinds import COPY_ALL, DELETE_ALL, REINDEX, RESTORE_DELETION, UNDO
from sourceimages.jobs.registry import KINDS
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImageQuerySet, Tombstone
from sourceimages.operations.delete import create_tombstone
from sourceimages.search import index_state

INDEX_AGAIN = timedelta(hours=1)  # after a job that built an index failed or was cancelled
IN_PROGRESS_MESSAGE = (
    Job.State.FAILED,
    Job.State.CANCELLED,
    Job.State.SUCCEEDED_WITH_ERRORS,
)  # by which no index was built


def start_copy_all(
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
    params = {"destination": destination.name, "overwrite": overwrite, "filters": dict(filters or {})}
    images = (source.images.active() if only is None else only).filtered(filters or {})
    return _create(source, COPY_ALL, params, images, actor, expected)


def start_delete_all(
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
        params = {"filters": dict(filters or {}), **_new_deletion(DELETE_ALL, organization, actor)}
        images = (organization.images.active() if only is None else only).filtered(filters or {})
        return _create(organization, DELETE_ALL, params, images, actor, expected)


@transaction.atomic
def start_restore(
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
    tombstone = restoring.get_restorable(organization, tombstone_id)
    restoring.extend_retention(organization.tombstones.filter(pk=tombstone.pk))
    images = tombstone.images.all() if only is None else only
    params = {"deletion_id": str(tombstone.pk), "undoes": restoring.description(tombstone)}
    return _create(organization, RESTORE_DELETION, params, images, actor, expected)


@transaction.atomic
def start_reindex(organization: Organization, *, actor: Actor) -> Job:
    """A job that makes anew what all images are searched by. When it is done, the index is current."""
    return _create(organization, REINDEX, {"index": index_state.begin(organization)}, organization.images.all(), actor)


def index_stale() -> list[Job]:
    """Begin to build each index that is not current, or go on with that; answer the jobs."""
    jobs = [_index_again(organization, wanted) for organization, wanted in index_state.stale()]
    return [job for job in jobs if job is not None]


def _index_again(organization: Organization, wanted: str) -> Job | None:
    """None where that is under way, or was stopped or failed a short while ago."""
    latest = organization.jobs.filter(kind=REINDEX, params__index=wanted).order_by("-created", "-id").first()
    if latest is None:
        return start_reindex(organization, actor=SYSTEM)
    if latest.state == Job.State.PAUSED:
        return resume(latest, actor=SYSTEM)
    ended = latest.finished or timezone.now()
    refused = latest.state in IN_PROGRESS_MESSAGE and ended > timezone.now() - INDEX_AGAIN
    return None if latest.unfinished or refused else start_reindex(organization, actor=SYSTEM)


def start_bulk_action(
    kind: str, selection: Selection, *, expected: str | None = None, actor: Actor, **params: Any
) -> Job:
    """Start a job that runs a bulk action over a selection; `params` are those of the action's class.

    With `expected`, a fingerprint, the selection has to be these images. Raises InvalidInput for a selection that
    can't be searched for, InvalidDestination, SelectionChanged; TypeError for an unknown action or wrong parameters.
    """
    action = BULK_ACTIONS.get(kind)
    if action is None or not action.runs_as_job or action.required_params != params.keys():
        raise TypeError(f"{kind!r} with {sorted(params)} is not a bulk action that runs as a job")
    images = selection.confirmed()
    params = {"selection": selection.to_json(), **action.job_params(selection, params)}
    with transaction.atomic():
        if selection.in_trash:
            restoring.extend_all_retention(selection.organization.tombstones.filter(pk__in=images.values("tombstone")))
        params |= _new_deletion(kind, selection.organization, actor)
        return _create(selection.organization, kind, params, images, actor, expected)


def _new_deletion(kind: str, organization: Organization, actor: Actor) -> dict[str, str]:
    """The parameter that names the deletion of a job that moves images to the trash; empty for other kinds."""
    reason = KINDS[kind].tombstone_reason
    return {"deletion_id": str(create_tombstone(organization, reason, actor).pk)} if reason else {}


def start_retry(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """A new job that does the same to the images that this one skipped or failed with, or `only` to some of them.

    Raises NothingToRetry if there are none, or not yet; JobExpired, JobUnderWay, SelectionChanged.
    """
    if job.unfinished:
        raise NothingToRetry("The job is not over yet.")
    if not snapshot.is_retained(job):
        raise JobExpired(f"The job ended more than {snapshot.RETENTION.days} days ago: what it skipped is not known.")
    images = snapshot.skipped_images(job) if only is None else only
    if not images.exists():
        raise NothingToRetry("There is no image that the job skipped or failed with.")
    with transaction.atomic():
        params = retry_arguments(job) | _new_deletion(job.kind, job.organization, actor)
        return _create(job.organization, job.kind, params, images, actor, expected)


def retry_arguments(job: Job) -> dict[str, Any]:
    """The params of a job that is run again for what this one skipped; without the deletion that it makes."""
    made = {"deletion_id"} if KINDS[job.kind].tombstone_reason else set()
    return {name: value for name, value in job.params.items() if name not in made} | {"retry_of": str(job.pk)}


def start_undo(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """A job that takes back what another one did, in the organization whose images that has changed.

    Of a deletion it is the job that restores it. `only` and `expected` are as for the others. Raises JobNotUndoable,
    JobUnderWay, TombstoneNotFound, SelectionChanged.
    """
    if job.unfinished:
        raise JobInProgress(f"The job {job.kind} is {job.state}. Stop it first.")
    if KINDS[job.kind].tombstone_reason:
        tombstone_id = UUID(job.params["deletion_id"])
        return start_restore(job.organization, tombstone_id, only=only, expected=expected, actor=actor)
    organization = undo.get_organization(job)
    images = undo.affected_images(job, organization) if organization else None
    if organization is None or images is None or not images.exists():
        raise JobNotUndoable(
            f"The history has no change by the job {job.kind}: it made none that could be undone, "
            f"or it is longer ago than {settings.HISTORY_RETENTION_DAYS} days (HISTORY_RETENTION_DAYS)."
        )
    if organization.jobs.unfinished().filter(kind=UNDO, params__job=str(job.pk)).exists():
        raise JobInProgress(f"The job {job.kind} is being undone already.")
    params = {"job": str(job.pk), "undone": job.kind}
    with transaction.atomic():
        if undo.makes_deletions(job, organization):
            params["deletion_id"] = str(create_tombstone(organization, Tombstone.Reason.UNDO, actor).pk)
        return _create(organization, UNDO, params, images if only is None else only, actor, expected)


@transaction.atomic
def _create(
    organization: Organization,
    kind: str,
    params: dict[str, Any],
    images: SourceImageQuerySet,
    actor: Actor,
    expected: str | None = None,
) -> Job:
    """Create the job about these images, as they are now.

    INDEX has no snapshot: it is about everything there is, and what comes meanwhile is indexed as it comes.
    """
    refusal = JobInProgress(f"Everything in {organization.name!r} is being deleted or restored already.")
    with translate_conflict(refusal, "job_exclusive"):
        job = Job.objects.create(
            organization=organization,
            kind=kind,
            params=params,
            user=actor.user,
            api_key_id=actor.api_key_id,
            source=actor.source,
            address=actor.address,
        )
    if kind == REINDEX and "retry_of" not in params:
        job.total, job.last_id = images.count(), images.aggregate(last=Max("id"))["last"] or 0
        job.save(update_fields=["total", "last_id"])
    else:
        snapshot.freeze(job, images, expected=expected)
    tombstone = params.get("deletion_id")
    record(
        actor,
        "job.started",
        organization=organization,
        target=kind,
        target_id=job.pk,
        count=job.total or 0,
        job_id=job.pk,
        tombstone_id=UUID(tombstone) if tombstone else None,
        **{name: value for name, value in params.items() if name != "deletion_id"},
    )
    return job
