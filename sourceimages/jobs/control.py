"""Stopping jobs, letting them go on, and finding them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Job, Organization
from rokka.core.database import translate_conflict
from sourceimages.errors import (
    JobExpired,
    JobInProgress,
    JobNotFound,
)
from sourceimages.jobs import restoring, snapshot
from sourceimages.jobs.kinds import DELETION_PARAMS, RESTORE_DELETION, RESUMABLE
from sourceimages.jobs.progress import finish


def cancel(job: Job, *, actor: Actor) -> Job:
    """Ask the job to stop at the next batch; what it has done stays done."""
    return stop(job, Job.State.CANCELLED, actor=actor)


@transaction.atomic
def stop(job: Job, state: Job.State, *, actor: Actor) -> Job:
    job = Job.objects.get_for_update(job.pk)
    if job.unfinished:
        finish(job, state, actor=actor)
    return job


@transaction.atomic
def resume(job: Job, *, actor: Actor) -> Job:
    """Let a job that was stopped, or that failed, go on where it ended.

    Raises JobUnderWay, JobExpired, TombstoneNotFound.
    """
    job = Job.objects.get_for_update(job.pk)
    if job.state in RESUMABLE:
        if not snapshot.is_retained(job):
            raise JobExpired(f"The job ended more than {snapshot.RETENTION.days} days ago: start a new one.")
        if job.kind == RESTORE_DELETION:
            restoring.extend_retention(job.organization.tombstones.filter(pk=job.params["deletion_id"]))
        job.state, job.finished, job.heartbeat, job.error = Job.State.QUEUED, None, None, ""
        job.attempts, job.stuck_since = 0, None
        with translate_conflict(JobInProgress("Another job deletes or restores everything here."), "job_exclusive"):
            job.save(update_fields=["state", "finished", "heartbeat", "error", "attempts", "stuck_since"])
        record(actor, "job.resumed", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


def find_interrupted(kind: str, organization: Organization, params: Mapping[str, Any], source: str) -> Job | None:
    """The newest job of this kind, with just these params, that was interrupted by who began it: the same source."""
    jobs = organization.jobs.filter(kind=kind, source=source, state=Job.State.PAUSED).order_by("-created")
    return next((job for job in jobs if find_equal(job, params) and snapshot.is_retained(job)), None)


def find_equal(job: Job, params: Mapping[str, Any]) -> bool:
    """Whether the job has these params and no others, but for the deletion that it makes or undoes."""
    own = {name: value for name, value in job.params.items() if name not in DELETION_PARAMS or name in params}
    return own == dict(params)


def get(organization: Organization, job_id: str) -> Job:
    try:
        job = organization.jobs.filter(pk=UUID(job_id)).first()
    except ValueError:
        job = None
    if job is None:
        raise JobNotFound("There is no such job.")
    return job
