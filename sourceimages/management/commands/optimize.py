from typing import Any

from django.core.management.base import CommandError

from rokka.errors import DomainError
from sourceimages import operations
from sourceimages.management.ownership import ImageCommand


class Command(ImageCommand):
    help = "Rewrite now, in this process, what was uploaded with optimize_source and waits for it."

    def handle(self, *args: Any, **options: Any) -> None:
        done, failed, last = 0, 0, 0
        while ids := operations.waiting_to_be_optimized(last):
            for last in ids:
                try:
                    done += operations.optimize(last)
                except DomainError as error:
                    failed += 1
                    self.stderr.write(f"file {last}: {error.message}")
        self.stdout.write(f"{done} files done")
        if failed:
            raise CommandError(f"{failed} files failed.")
