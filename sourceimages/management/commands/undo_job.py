from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.errors import JobNotFound
from sourceimages.jobs import undo
from sourceimages.management.job_command import JobCommand, JobPlan
from sourceimages.models import SourceImage, Tombstone


class Command(JobCommand):
    help = (
        "Undo what a job has done: values that it replaced come back, images that it made go to the trash, and what it "
        "deleted is restored. What was changed since stays as it is, and is named."
    )
    outcomes = ("undone", "restored", "changed_since", "locked", "not_found", "skipped_existing")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", metavar="ID", help="of the job; GET /jobs/{org} and the admin show it")

    def run(self, **options: Any) -> None:
        job = _job(options["job"])
        self.execute_plan(_restoring(job) if jobs.KINDS[job.kind].tombstone_reason else _undoing(job), **options)

    def summary_note(self, job: Job) -> str:
        named = [f"  {failure['hash']} {failure['message']}" for failure in job.errors]
        return "\n".join(["Left as they are:", *named]) if named else ""


def _job(text: str) -> Job:
    try:
        job = Job.objects.select_related("organization").filter(pk=UUID(text)).first()
    except ValueError as error:
        raise CommandError(f"{text!r} is not the id of a job.") from error
    if job is None:
        raise JobNotFound(f"There is no job {text}.")
    return job


def _undoing(job: Job) -> JobPlan:
    organization = undo.get_organization(job) or job.organization
    return JobPlan(
        jobs.UNDO,
        organization,
        {"job": str(job.pk), "undone": job.kind},
        undo.affected_images(job, organization),
        f"undo what the job {job.kind} of {job.created:%Y-%m-%d %H:%M} UTC did to {{}} of {organization}",
        partial(jobs.start_undo, job, actor=COMMAND),
    )


def _restoring(job: Job) -> JobPlan:
    tombstone = job.params["deletion_id"]
    images = SourceImage.objects.filter(tombstone__in=Tombstone.objects.restorable().filter(pk=tombstone))
    return JobPlan(
        jobs.RESTORE_DELETION,
        job.organization,
        {"tombstone": tombstone},
        images,
        f"bring back {{}} of {job.organization} that the job {job.kind} of {job.created:%Y-%m-%d %H:%M} UTC deleted",
        partial(jobs.start_undo, job, actor=COMMAND),
    )
