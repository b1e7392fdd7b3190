"""What an operator reads before accepting database and storage as they are."""

from typing import Any

from django.core.management.base import CommandParser

from organizations.management.base import OperationCommand
from sourceimages import ownership
from sourceimages.management.job_command import confirm
from sourceimages.ownership import Finding, decisions
from sourceimages.ownership.decisions import Inventory


class DecisionCommand(OperationCommand):
    """A command by which an operator accepts database and storage as they are, after reading what was found."""

    question: str

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask, for scripts")

    def run(self, **options: Any) -> None:
        finding = ownership.examine()
        if finding.problem:
            self.stdout.write(describe_inventory(finding, decisions.inventory()))
            if not options["yes"]:
                confirm(self.question)
        self.stdout.write(self.decide())

    def decide(self) -> str:
        """Do it, and say what it means."""
        raise NotImplementedError


def describe_inventory(finding: Finding, inventory: Inventory) -> str:
    """Everything that an operator has to see before deciding."""
    lines = [finding.problem.sentence] if finding.problem else []
    for name, mark in (("storage", finding.in_storage), ("database", finding.in_database)):
        says = "no mark"
        if mark:
            says = f"instance {mark.instance}, counter {mark.counter}, newest file {mark.newest_file}, "
            says += f"newest image {mark.newest_image}, of database {mark.database}"
        lines.append(f"  {name + ':':10}{says}")
    lines += [
        f"This is database {finding.facts.identity}, newest file {finding.facts.newest_file}.",
        f"Of the {inventory.rows} newest files of this database, {inventory.rows_with_file} are in the storage.",
        f"Of {'all' if inventory.everything else 'the first'} {inventory.keys} files in the storage, "
        f"{inventory.keys_without_row} are unknown to this database.",
    ]
    return "\n".join(lines)
