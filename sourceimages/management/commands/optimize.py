from typing import Any

from django.core.management.base import BaseCommand

from sourceimages import operations


class Command(BaseCommand):
    help = "Rewrite now, in this process, what was uploaded with optimize_source and waits for it."

    def handle(self, *args: Any, **options: Any) -> None:
        done = 0
        while ids := operations.waiting_to_be_optimized():
            done += sum(operations.optimize(file_id) for file_id in ids)
        self.stdout.write(f"{done} files done")
