from typing import Any

from organizations.management.base import ReportCommand
from organizations.usage import daily_stats
from rokka.core.locks import exclusive


class Command(ReportCommand):
    help = "Store today's usage of every organization, for GET /stats."

    @exclusive("snapshot_stats")
    def run(self, **options: Any) -> None:
        self.report["organizations"] = count = daily_stats.snapshot()
        self.stdout.write(f"Stored the usage of {count} organizations.")
