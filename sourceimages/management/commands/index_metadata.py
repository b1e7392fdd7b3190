from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from organizations.audit import COMMAND
from organizations.management.arguments import organization
from organizations.models import Organization
from sourceimages import jobs


class Command(BaseCommand):
    help = "Make anew what pictures are searched by, of one organization or of all. Interrupted, it may be run again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", nargs="?", help="all if it is left out")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["organization"]
        for one in [organization(name)] if name else Organization.objects.order_by("name"):
            job = jobs.interrupted(jobs.INDEX, one, {}) or jobs.index(one, actor=COMMAND)
            job = jobs.go_on(job, actor=COMMAND)
            with tqdm(total=job.total, initial=job.done, desc=one.name, unit=" pictures", disable=None) as bar:
                try:
                    jobs.run(job.pk, watch=lambda job, bar=bar: bar.update(job.done - bar.n))
                except KeyboardInterrupt:
                    jobs.stop(job, job.State.INTERRUPTED, actor=COMMAND)
                    raise
            self.stdout.write(f"{one.name}: {bar.n} pictures")
