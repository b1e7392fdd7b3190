"""Stopping jobs, letting them go on, and finding them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Job, Organization
from rokka.core.database import refused_as
from sourceimages.errors import (
    JobExpired,
    JobNotFound,
    JobUnderWay,
)
from sourceimages.jobs import restoring, snapshot
from sourceimages.jobs.kinds import OF_DELETION, RESTORE, RESUMABLE
from sourceimages.jobs.progress import finish


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
        if not snapshot.is_kept(job):
            raise JobExpired(f"The job ended more than {snapshot.KEPT.days} days ago: start a new one.")
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
    return next((job for job in jobs if same(job, arguments) and snapshot.is_kept(job)), None)


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
