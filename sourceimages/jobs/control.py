"""Cancel, pause, resume and find jobs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Job, Organization
from rokka.core.database import translate_conflict
from sourceimages.errors import JobExpired, JobInProgress, JobNotFound
from sourceimages.jobs import restore_deletion, snapshot
from sourceimages.jobs.kinds import DELETION_PARAMS, RESTORE_DELETION, RESUMABLE
from sourceimages.jobs.progress import finish


def cancel(job: Job, *, actor: Actor) -> Job:
    """Cancel the job before its next batch. Processed images stay changed; a finished job doesn't change."""
    return stop(job, Job.State.CANCELLED, actor=actor)


@transaction.atomic
def stop(job: Job, state: Job.State, *, actor: Actor) -> Job:
    """Set an unfinished job to `state`, such as PAUSED; it stops before its next batch."""
    job = Job.objects.get_for_update(job.pk)
    if job.unfinished:
        finish(job, state, actor=actor)
    return job


@transaction.atomic
def resume(job: Job, *, actor: Actor) -> Job:
    """Resume a paused, cancelled or failed job where it stopped; a job in any other state doesn't change.

    Raises JobInProgress, JobExpired, TombstoneNotFound.
    """
    job = Job.objects.get_for_update(job.pk)
    if job.state in RESUMABLE:
        if not snapshot.is_retained(job):
            raise JobExpired(f"The job ended more than {snapshot.RETENTION.days} days ago. Start a new one.")
        if job.kind == RESTORE_DELETION:
            restore_deletion.extend_retention(job.organization.tombstones.filter(pk=job.params["deletion_id"]))
        job.state, job.finished, job.heartbeat, job.error = Job.State.QUEUED, None, None, ""
        job.attempts, job.stuck_since = 0, None
        conflict = JobInProgress(f"Another job deletes or restores images of {job.organization.name!r}. Wait for it.")
        with translate_conflict(conflict, "job_exclusive"):
            job.save(update_fields=["state", "finished", "heartbeat", "error", "attempts", "stuck_since"])
        record(actor, "job.resumed", organization=job.organization, target=job.kind, target_id=job.pk, job_id=job.pk)
    return job


def find_interrupted(kind: str, organization: Organization, params: Mapping[str, Any], source: str) -> Job | None:
    """Return the newest paused job of this kind and source with exactly these params, or None."""
    jobs = organization.jobs.filter(kind=kind, source=source, state=Job.State.PAUSED).order_by("-created")
    return next((job for job in jobs if find_equal(job, params) and snapshot.is_retained(job)), None)


def find_equal(job: Job, params: Mapping[str, Any]) -> bool:
    """Return whether the job has exactly these params; those that describe its deletion count only if given."""
    own = {name: value for name, value in job.params.items() if name not in DELETION_PARAMS or name in params}
    return own == dict(params)


def get(organization: Organization, job_id: str) -> Job:
    """Raises JobNotFound, also if `job_id` is not a UUID."""
    try:
        job = organization.jobs.filter(pk=UUID(job_id)).first()
    except ValueError:
        job = None
    if job is None:
        raise JobNotFound("Job not found.")
    return job
