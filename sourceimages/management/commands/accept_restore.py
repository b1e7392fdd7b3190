from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.arguments import OperationCommand
from sourceimages import ownership
from sourceimages.management.ownership import described
from sourceimages.management.progress import ask
from sourceimages.ownership import decisions


class Command(OperationCommand):
    help = "Go on with a database that was restored or moved beside its storage, or with a storage that was restored."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask, for scripts")

    def run(self, **options: Any) -> None:
        finding = ownership.examine()
        if finding.problem:
            self.stdout.write(described(finding, decisions.inventory()))
            if not options["yes"]:
                ask("go on with this database and this storage as they are")
        decisions.accept_restore(actor=COMMAND)
        self.stdout.write(
            "Accepted. Files that are unknown to this database stay for their grace time, then go to the storage's "
            "trash; `manage.py recover_orphans` makes images of them again."
        )
