from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Exists, OuterRef

from organizations.audit import COMMAND
from organizations.management.base import organization
from sourceimages import jobs
from sourceimages.errors import InvalidDestination
from sourceimages.management.job_command import JobCommand, JobPlan, add_filters, parse_filters
from sourceimages.outcomes import Outcome


class Command(JobCommand):
    help = "Copy all images of an organization to another one. Images that exist there are skipped."
    outcomes = tuple(
        outcome.value for outcome in (Outcome.CREATED, Outcome.SKIPPED_EXISTING, Outcome.OVERWRITTEN, Outcome.LOCKED)
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("source", help="name of the organization to copy from")
        parser.add_argument("destination", help="name of the organization to copy to")
        parser.add_argument(
            "--overwrite", action="store_true", help="overwrite existing images at the destination, except locked ones"
        )
        add_filters(parser)

    def run(self, **options: Any) -> None:
        source, destination = organization(options["source"]), organization(options["destination"])
        if source == destination:
            raise InvalidDestination("The destination must be another organization.")
        overwrite, filters = options["overwrite"], parse_filters(options)
        images = source.images.active().filtered(filters)
        existing = destination.images.active().filter(hash=OuterRef("hash"))
        plan = JobPlan(
            jobs.COPY_ALL,
            source,
            {"destination": destination.name, "overwrite": overwrite, "filters": filters},
            images,
            f"copy {{}} from {source} to {destination}" + (", overwriting existing images" if overwrite else ""),
            partial(jobs.start_copy_all, source, destination, overwrite=overwrite, filters=filters, actor=COMMAND),
            remaining=images.exclude(Exists(existing)),
        )
        self.execute_plan(plan, **options)
