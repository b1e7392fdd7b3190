from typing import Any

from django.core.management.base import BaseCommand

from sourceimages.maintenance import garbage_collection


class Command(BaseCommand):
    help = "Remove bytes that crashes left behind: without a row, and older than GRACE_SECONDS."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{garbage_collection.collect_garbage()} files removed")
