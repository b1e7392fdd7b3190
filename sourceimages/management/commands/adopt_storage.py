from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.arguments import OperationCommand
from sourceimages import ownership
from sourceimages.management.ownership import described
from sourceimages.management.progress import ask
from sourceimages.ownership import decisions


class Command(OperationCommand):
    help = "Let this database take over the storage, whose owner mark is missing or names another instance."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask, for scripts")

    def run(self, **options: Any) -> None:
        finding = ownership.examine()
        if finding.problem:
            self.stdout.write(described(finding, decisions.inventory()))
            if not options["yes"]:
                ask("make this database the only owner of the storage")
        decisions.adopt_storage(actor=COMMAND)
        self.stdout.write("The storage belongs to this database now. Another database beside it is refused.")
