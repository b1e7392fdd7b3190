from typing import Any

from organizations.management.base import OperationCommand
from organizations.usage import daily_stats
from rokka.core.locks import exclusive


class Command(OperationCommand):
    help = "Store today's usage of every organization, for GET /stats."

    @exclusive("snapshot_stats")
    def run(self, **options: Any) -> None:
        self.stdout.write(f"Stored the usage of {daily_stats.snapshot()} organizations.")
