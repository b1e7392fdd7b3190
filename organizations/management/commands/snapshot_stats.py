from typing import Any

from django.core.management.base import BaseCommand

from organizations.usage import daily_stats


class Command(BaseCommand):
    help = "Write down what every organization holds today, for GET /stats."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{daily_stats.snapshot()} organizations")
