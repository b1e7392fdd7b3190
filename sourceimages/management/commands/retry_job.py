from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.jobs import snapshot
from sourceimages.management.job_command import JobCommand, JobPlan, get_job


class Command(JobCommand):
    help = "Retry a job for the images that it skipped or failed for."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("job", metavar="ID", help="ID of a job that completed with errors")

    def run(self, **options: Any) -> None:
        job = get_job(options["job"])
        plan = JobPlan(
            job.kind,
            job.organization,
            jobs.retry_arguments(job),
            snapshot.skipped_images(job),
            f"retry {job.kind} of {job.organization} for {{}}",
            partial(jobs.start_retry, job, actor=COMMAND),
        )
        self.execute_plan(plan, **options)

    def summarize(self, job: Job) -> None:
        self.outcomes = tuple(sorted(job.counts.keys() - {"failed"}))
        super().summarize(job)
