from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db.models import Q

from organizations.audit import COMMAND
from organizations.management.base import organization
from organizations.models import Job
from sourceimages import jobs
from sourceimages.management.job_command import JobCommand, Work, add_filters, filters_in


class Command(JobCommand):
    help = "Move all pictures of an organization to the trash, but the locked ones. restore_all brings them back."
    outcomes = ("deleted", "locked")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        add_filters(parser)

    def run(self, **options: Any) -> None:
        where, filters = organization(options["organization"]), filters_in(options)
        images = where.images.living().matching(filters)
        locked = images.filter(locked=True).count()
        work = Work(
            jobs.DELETE_ALL,
            where,
            {"filters": filters},
            images,
            f"move {{}} of {where} to the trash, for {settings.TRASH_DAYS} days"
            + (f"; locked ones stay: {locked}" if locked else ""),
            partial(jobs.delete_all, where, filters=filters, actor=COMMAND),
            affected=Q(locked=False),
            to_do=images.filter(locked=False),
        )
        self.carry_out(work, **options)

    def remark(self, job: Job) -> str:
        return f"restore_all {job.organization} --tombstone {job.arguments['tombstone']} brings them back."
