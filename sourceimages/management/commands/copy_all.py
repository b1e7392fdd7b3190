from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Exists, OuterRef

from organizations.audit import COMMAND
from organizations.management.base import organization
from sourceimages import jobs
from sourceimages.errors import InvalidDestination
from sourceimages.management.job_command import JobCommand, JobPlan, add_filters, parse_filters


class Command(JobCommand):
    help = "Copy all pictures of an organization to another one. What is there already stays as it is."
    outcomes = ("created", "skipped_existing", "overwritten", "locked")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("source", help="an organization")
        parser.add_argument("destination", help="another one")
        parser.add_argument(
            "--overwrite", action="store_true", help="replace what is there already, unless it is locked"
        )
        add_filters(parser)

    def run(self, **options: Any) -> None:
        source, destination = organization(options["source"]), organization(options["destination"])
        if source == destination:
            raise InvalidDestination("The destination must be another organization.")
        overwrite, filters = options["overwrite"], parse_filters(options)
        images = source.images.active().filtered(filters)
        there = destination.images.active().filter(hash=OuterRef("hash"))
        work = JobPlan(
            jobs.COPY_ALL,
            source,
            {"destination": destination.name, "overwrite": overwrite, "filters": filters},
            images,
            f"copy {{}} from {source} to {destination}" + (", over what is there already" if overwrite else ""),
            partial(jobs.start_copy_all, source, destination, overwrite=overwrite, filters=filters, actor=COMMAND),
            remaining=images.exclude(Exists(there)),
        )
        self.execute_plan(work, **options)
