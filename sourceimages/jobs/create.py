"""Start jobs: each function creates the row of a job, with a snapshot of the images to process."""

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
from sourceimages.errors import InvalidDestination, JobExpired, JobInProgress, JobNotUndoable, NothingToRetry
from sourceimages.jobs import restore_deletion, snapshot, undo
from sourceimages.jobs.bulk_actions import BULK_ACTIONS
from sourceimages.jobs.control import resume
from sourceimages.jobs.kinds import COPY_ALL, DELETE_ALL, REINDEX, RESTORE_DELETION, UNDO
from sourceimages.jobs.registry import KINDS
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImageQuerySet, Tombstone
from sourceimages.operations.delete import create_tombstone
from sourceimages.search import index_state

REINDEX_PAUSE = timedelta(hours=1)  # before a failed or cancelled job that builds an index is started again
FAILED_STATES = (Job.State.FAILED, Job.State.CANCELLED, Job.State.SUCCEEDED_WITH_ERRORS)  # the index is incomplete


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
    """Start a job that copies all active images of an organization, or `only` these, to another organization.

    `expected` is the fingerprint of the images that the caller confirmed. Raises InvalidDestination,
    SelectionChanged.
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
    """Start a job that moves all active images, or `only` these, to the trash as one deletion.

    Locked images are skipped. `expected` is the fingerprint of the images that the caller confirmed. Raises
    JobInProgress, SelectionChanged.
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
    """Start a job that restores a deletion, by default the latest one, or `only` these of its images.

    The deletion gets the retention of a new one, so that it doesn't expire while the job runs. By default, images
    that were replaced by one with another hash are not considered. `expected` is the fingerprint of the images that
    the caller confirmed. Raises TombstoneNotFound, JobInProgress, SelectionChanged.
    """
    tombstone = restore_deletion.get_restorable(organization, tombstone_id)
    restore_deletion.extend_retention(organization.tombstones.filter(pk=tombstone.pk))
    images = tombstone.images.all() if only is None else only
    params = {"deletion_id": str(tombstone.pk), "undoes": restore_deletion.description(tombstone)}
    return _create(organization, RESTORE_DELETION, params, images, actor, expected)


@transaction.atomic
def start_reindex(organization: Organization, *, actor: Actor) -> Job:
    """Start a job that rebuilds the search index of all images."""
    return _create(organization, REINDEX, {"index": index_state.begin(organization)}, organization.images.all(), actor)


def index_stale() -> list[Job]:
    """Start or resume a job for each search index that is not current. Return these jobs."""
    jobs = [_restart_index(organization, version) for organization, version in index_state.stale()]
    return [job for job in jobs if job is not None]


def _restart_index(organization: Organization, version: str) -> Job | None:
    """Return None if a job is in progress, or if one failed or was cancelled less than REINDEX_PAUSE ago."""
    latest = organization.jobs.filter(kind=REINDEX, params__index=version).order_by("-created", "-id").first()
    if latest is None:
        return start_reindex(organization, actor=SYSTEM)
    if latest.state == Job.State.PAUSED:
        return resume(latest, actor=SYSTEM)
    ended = latest.finished or timezone.now()
    pausing = latest.state in FAILED_STATES and ended > timezone.now() - REINDEX_PAUSE
    return None if latest.unfinished or pausing else start_reindex(organization, actor=SYSTEM)


def start_bulk_action(
    kind: str, selection: Selection, *, expected: str | None = None, actor: Actor, **params: Any
) -> Job:
    """Start a job that runs a bulk action over a selection; `params` are those of the action's class.

    `expected` is the fingerprint of the images that the user confirmed. Raises InvalidInput for an invalid search or
    too many ids, InvalidDestination, SelectionChanged; TypeError for an unknown action or wrong parameters.
    """
    action = BULK_ACTIONS.get(kind)
    if action is None or not action.runs_as_job or action.required_params != params.keys():
        raise TypeError(f"{kind!r} with {sorted(params)} is not a bulk action that runs as a job")
    images = selection.confirmed()
    params = {"selection": selection.to_json(), **action.job_params(selection, params)}
    with transaction.atomic():
        if selection.in_trash:
            restore_deletion.extend_all_retention(
                selection.organization.tombstones.filter(pk__in=images.values("tombstone"))
            )
        params |= _new_deletion(kind, selection.organization, actor)
        return _create(selection.organization, kind, params, images, actor, expected)


def _new_deletion(kind: str, organization: Organization, actor: Actor) -> dict[str, str]:
    """Create the deletion of a job that moves images to the trash. Return it as a param; empty for other kinds."""
    reason = KINDS[kind].tombstone_reason
    return {"deletion_id": str(create_tombstone(organization, reason, actor).pk)} if reason else {}


def start_retry(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """Start a job that processes the images that this job skipped or that failed, or `only` these.

    Raises NothingToRetry if it has no such images or has not finished; JobExpired, JobInProgress, SelectionChanged.
    """
    if job.unfinished:
        raise NothingToRetry("The job has not finished. Wait for it, or cancel it.")
    if not snapshot.is_retained(job):
        raise JobExpired(f"The job ended more than {snapshot.RETENTION.days} days ago. Start a new one.")
    images = snapshot.skipped_images(job) if only is None else only
    if not images.exists():
        raise NothingToRetry("The job has no skipped or failed images to retry.")
    with transaction.atomic():
        params = retry_arguments(job) | _new_deletion(job.kind, job.organization, actor)
        return _create(job.organization, job.kind, params, images, actor, expected)


def retry_arguments(job: Job) -> dict[str, Any]:
    """Return the params of a job that retries this one, without the deletion, which is a new one."""
    excluded = {"deletion_id"} if KINDS[job.kind].tombstone_reason else set()
    return {name: value for name, value in job.params.items() if name not in excluded} | {"retry_of": str(job.pk)}


def start_undo(job: Job, *, only: SourceImageQuerySet | None = None, expected: str | None = None, actor: Actor) -> Job:
    """Start a job that undoes the changes of another one, in the organization whose images it changed.

    A job that made a deletion is undone by a job that restores it. For `only` and `expected` see `start_restore`.
    Raises JobNotUndoable, JobInProgress, TombstoneNotFound, SelectionChanged.
    """
    if job.unfinished:
        raise JobInProgress(f"The job {job.kind} is {job.state}. Cancel it first.")
    if KINDS[job.kind].tombstone_reason:
        tombstone_id = UUID(job.params["deletion_id"])
        return start_restore(job.organization, tombstone_id, only=only, expected=expected, actor=actor)
    organization = undo.get_organization(job)
    images = undo.affected_images(job, organization) if organization else None
    if organization is None or images is None or not images.exists():
        raise JobNotUndoable(
            f"The history has no changes by the job {job.kind}. Either it made none that can be undone, or they are "
            f"older than {settings.HISTORY_RETENTION_DAYS} days (HISTORY_RETENTION_DAYS)."
        )
    if organization.jobs.unfinished().filter(kind=UNDO, params__job=str(job.pk)).exists():
        raise JobInProgress(f"Another job is undoing the job {job.kind}.")
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
    """Create the row of a job with a snapshot of the images. Raises JobInProgress, SelectionChanged.

    REINDEX has no snapshot: it processes all images, and images added later are indexed when they are added.
    """
    conflict = JobInProgress(f"Another job deletes or restores images of {organization.name!r}. Wait for it.")
    with translate_conflict(conflict, "job_exclusive"):
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
