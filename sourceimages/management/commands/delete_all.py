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
from sourceimages.management.terminal import count_label


class Command(JobCommand):
    help = "Move all images of an organization to the trash, except locked ones. Undo it with restore_all."
    outcomes = ("deleted", "locked")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        add_filters(parser)

    def run(self, **options: Any) -> None:
        owner, filters = organization(options["organization"]), parse_filters(options)
        images = owner.images.active().filtered(filters)
        locked = images.filter(locked=True).count()
        plan = JobPlan(
            jobs.DELETE_ALL,
            owner,
            {"filters": filters},
            images,
            f"move {{}} of {owner} to the trash, to be deleted permanently after {settings.TRASH_RETENTION_DAYS} days"
            + (f", and skip {count_label(locked, 'locked image')}" if locked else ""),
            partial(jobs.start_delete_all, owner, filters=filters, actor=COMMAND),
            affected=Q(locked=False),
            remaining=images.filter(locked=False),
        )
        self.execute_plan(plan, **options)

    def summary_note(self, job: Job) -> str:
        return f"To undo: manage.py restore_all {job.organization} --deletion {job.params['deletion_id']}"
