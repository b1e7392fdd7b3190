from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand, organization
from organizations.models import Job, Organization
from organizations.usage import counters
from sourceimages import jobs
from sourceimages.maintenance import consistency
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import count_label, progress_bar
from sourceimages.search import index_state


class Command(ImageCommand, ChangeCommand):
    help = "Rebuild the search index and the usage counters. If interrupted, run it again to resume."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization", nargs="?", help="name of an organization (default: all)")

    def run(self, **options: Any) -> None:
        name, errors = options["organization"], []
        self.report["organizations"] = images = {}
        for one in [organization(name)] if name else Organization.objects.order_by("name"):
            wanted = {"index": index_state.state_of(one.pk).wanted}
            job = jobs.find_interrupted(jobs.REINDEX, one, wanted, COMMAND.source) or jobs.start_reindex(
                one, actor=COMMAND
            )
            if options["dry_run"]:  # the job is not started
                images[one.name] = job.total
                self.stdout.write(f"[dry run] {one.name}: would index {count_label(job.total or 0)}.")
                continue
            job = self._run(jobs.resume(job, actor=COMMAND))
            images[one.name] = job.processed
            counters.recount(one, lambda one=one: consistency.expected_totals(one))  # type: ignore[misc]
            self.stdout.write(f"{one.name}: {count_label(job.processed)}")
            if job.state != Job.State.SUCCEEDED:
                errors.append(f"{one.name}: job {job.pk} is {job.state}. {job.error}".strip())
        if errors:
            raise CommandError("\n".join(errors))

    def _run(self, job: Job) -> Job:
        with progress_bar(job.total, job.processed) as bar:

            def watch(job: Job) -> None:
                bar.update(job.processed - bar.n)

            try:
                return jobs.run(job.pk, on_progress=watch)
            except KeyboardInterrupt:
                jobs.stop(job, Job.State.PAUSED, actor=COMMAND)
                raise
