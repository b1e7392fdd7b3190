from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db.models import Q

from organizations.audit import COMMAND
from organizations.management.base import organization
from organizations.models import Job
from sourceimages import jobs
from sourceimages.management.job_command import JobCommand, JobPlan, add_filters, parse_filters


class Command(JobCommand):
    help = "Move all pictures of an organization to the trash, but the locked ones. restore_all brings them back."
    outcomes = ("deleted", "locked")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        add_filters(parser)

    def run(self, **options: Any) -> None:
        where, filters = organization(options["organization"]), parse_filters(options)
        images = where.images.active().filtered(filters)
        locked = images.filter(locked=True).count()
        work = JobPlan(
            jobs.DELETE_ALL,
            where,
            {"filters": filters},
            images,
            f"move {{}} of {where} to the trash, for {settings.TRASH_RETENTION_DAYS} days"
            + (f"; locked ones stay: {locked}" if locked else ""),
            partial(jobs.start_delete_all, where, filters=filters, actor=COMMAND),
            affected=Q(locked=False),
            remaining=images.filter(locked=False),
        )
        self.execute_plan(work, **options)

    def summary_note(self, job: Job) -> str:
        return f"restore_all {job.organization} --deletion {job.params['deletion_id']} brings them back."
