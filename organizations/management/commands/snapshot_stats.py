from typing import Any

from django.core.management.base import BaseCommand

from organizations.usage import daily_stats


class Command(BaseCommand):
    help = "Store today's usage of every organization, for GET /stats."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Stored the usage of {daily_stats.snapshot()} organizations.")
