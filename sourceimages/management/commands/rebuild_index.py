from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from organizations.audit import COMMAND
from organizations.management.base import organization
from organizations.models import Job, Organization
from organizations.usage import counters
from sourceimages import jobs
from sourceimages.maintenance import consistency
from sourceimages.management.ownership import ImageCommand
from sourceimages.search import index_state


class Command(ImageCommand):
    help = "Make anew what pictures are searched by, and count them. Interrupted, it goes on when it is run again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", nargs="?", help="all if it is left out")

    def handle(self, *args: Any, **options: Any) -> None:
        name, troubled = options["organization"], []
        for one in [organization(name)] if name else Organization.objects.order_by("name"):
            wanted = {"index": index_state.state_of(one.pk).wanted}
            job = jobs.find_interrupted(jobs.REINDEX, one, wanted, COMMAND.source) or jobs.start_reindex(
                one, actor=COMMAND
            )
            job = self._run(jobs.resume(job, actor=COMMAND))
            counters.recount(one, lambda one=one: consistency.expected_totals(one))  # type: ignore[misc]
            self.stdout.write(f"{one.name}: {job.processed} pictures")
            if job.state != Job.State.SUCCEEDED:
                troubled.append(f"{one.name}: the job {job.pk} is {job.state}. {job.error}".strip())
        if troubled:
            raise CommandError("\n".join(troubled))

    def _run(self, job: Job) -> Job:
        with tqdm(total=job.total, initial=job.processed, unit=" pictures", disable=None) as bar:

            def watch(job: Job) -> None:
                bar.update(job.processed - bar.n)

            try:
                return jobs.run(job.pk, watch=watch)
            except KeyboardInterrupt:
                jobs.stop(job, Job.State.PAUSED, actor=COMMAND)
                raise
