from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.jobs import undo
from sourceimages.management.job_command import JobCommand, JobPlan, get_job
from sourceimages.models import SourceImage, Tombstone
from sourceimages.outcomes import Outcome


class Command(JobCommand):
    help = (
        "Undo a job: restore the values that it replaced and the images that it deleted, and move the images that it "
        "created to the trash. Images that were changed since are skipped and listed."
    )
    outcomes = (
        Outcome.UNDONE,
        Outcome.RESTORED.value,
        Outcome.CHANGED_SINCE,
        Outcome.LOCKED,
        Outcome.NOT_FOUND,
        Outcome.SKIPPED_EXISTING,
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", metavar="ID", help="ID of the job, as in the admin or GET /jobs/{organization}")

    def run(self, **options: Any) -> None:
        job = get_job(options["job"])
        deletes = jobs.KINDS[job.kind].tombstone_reason is not None
        self.execute_plan(_restore_plan(job) if deletes else _undo_plan(job), **options)


def _undo_plan(job: Job) -> JobPlan:
    organization = undo.get_organization(job) or job.organization
    return JobPlan(
        jobs.UNDO,
        organization,
        {"job": str(job.pk), "undone": job.kind},
        undo.affected_images(job, organization),
        f"undo the job {job.kind} of {job.created:%Y-%m-%d %H:%M} UTC for {{}} of {organization}",
        partial(jobs.start_undo, job, actor=COMMAND),
    )


def _restore_plan(job: Job) -> JobPlan:
    deletion_id = job.params["deletion_id"]
    images = SourceImage.objects.filter(tombstone__in=Tombstone.objects.restorable().filter(pk=deletion_id))
    return JobPlan(
        jobs.RESTORE_DELETION,
        job.organization,
        {"deletion_id": deletion_id},
        images,
        f"restore {{}} of {job.organization}, deleted by the job {job.kind} of {job.created:%Y-%m-%d %H:%M} UTC",
        partial(jobs.start_undo, job, actor=COMMAND),
    )
