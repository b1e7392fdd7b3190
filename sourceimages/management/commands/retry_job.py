from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.jobs import snapshot
from sourceimages.management.job_command import JobCommand, JobPlan


class Command(JobCommand):
    help = "Run a job again, for just the images that it skipped or failed with."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", metavar="ID", help="a job that completed with errors")

    def run(self, **options: Any) -> None:
        job = found(options["job"])
        work = JobPlan(
            job.kind,
            job.organization,
            jobs.retry_arguments(job),
            snapshot.skipped_images(job),
            f"run {job.kind} of {job.organization} again for {{}}",
            partial(jobs.start_retry, job, actor=COMMAND),
        )
        self.execute_plan(work, **options)

    def summarize(self, job: Job) -> None:
        self.outcomes = tuple(sorted(job.counts.keys() - {"failed"}))
        super().summarize(job)


def found(text: str) -> Job:
    try:
        job = Job.objects.select_related("organization").filter(pk=UUID(text)).first()
    except ValueError:
        job = None
    if job is None:
        raise CommandError(f"There is no job {text!r}.")
    return job
