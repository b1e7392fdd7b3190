"""Copies an organization. It is in this package because it copies stacks besides images, and knows both."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Exists, OuterRef

from organizations.audit import COMMAND
from organizations.management.base import organization
from organizations.models import Organization
from rendering import operations
from sourceimages import jobs
from sourceimages.errors import InvalidDestination
from sourceimages.management.job_command import EXIT_WITH_ERRORS, JobCommand, JobPlan, add_filters, parse_filters
from sourceimages.management.terminal import confirm, count_label
from sourceimages.outcomes import Outcome


class Command(JobCommand):
    help = "Copy all images of an organization to another one, with --stacks its stacks too. Existing ones are skipped."
    outcomes = tuple(
        outcome.value for outcome in (Outcome.CREATED, Outcome.SKIPPED_EXISTING, Outcome.OVERWRITTEN, Outcome.LOCKED)
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("source", help="name of the organization to copy from")
        parser.add_argument("destination", help="name of the organization to copy to")
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="overwrite existing images and stacks at the destination, except locked images",
        )
        parser.add_argument(
            "--stacks", action="store_true", help="also copy the stacks, before the images; previews are not copied"
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
        errors = self._copy_stacks(plan, destination, options) if options["stacks"] else 0
        self.execute_plan(plan, **options | {"yes": options["yes"] or options["stacks"]})
        if errors:
            raise CommandError(f"{count_label(errors, 'stack')} failed.", returncode=EXIT_WITH_ERRORS)

    def _copy_stacks(self, plan: JobPlan, destination: Organization, options: Mapping[str, Any]) -> int:
        """Copy the stacks once the user has confirmed that and the plan; return how many failed."""
        source = plan.organization
        count = count_label(operations.to_copy(source).count(), "stack")
        if options["dry_run"]:
            self.stdout.write(f"[dry run] Would copy {count} from {source} to {destination}.")
            return 0
        if not options["yes"]:
            confirm(f"{plan.describe(plan.images)}, and {count}")
        copied = operations.copy_stacks(source, destination, overwrite=options["overwrite"], actor=COMMAND)
        counts = {f"stacks {name}": copied.counts[name] for name in ("created", "skipped_existing", "overwritten")}
        self.print_fields(counts | {"stacks failed": len(copied.errors)}, as_json=False)
        for error in copied.errors:
            self.stdout.write(f"  {error}")
        return len(copied.errors)
