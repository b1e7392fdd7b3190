"""Base class of commands that accept a storage mismatch."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from organizations.management.base import ChangeCommand
from sourceimages import ownership
from sourceimages.management.terminal import add_yes_option, confirm
from sourceimages.ownership import Finding, decisions
from sourceimages.ownership.decisions import Inventory


class DecisionCommand(ChangeCommand):
    """A command that prints how database and storage differ, confirms, and accepts them as they are."""

    action: str  # what is confirmed

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_yes_option(parser)

    def run(self, **options: Any) -> None:
        finding = ownership.examine()
        self.report["problem"] = finding.problem.description if finding.problem else None
        if finding.problem:
            inventory = decisions.inventory()
            self.report |= asdict(inventory)
            self.stdout.write(describe_inventory(finding, inventory))
        if options["dry_run"]:
            self.stdout.write(f"[dry run] Would {self.action}." if finding.problem else "Nothing to do.")
            return
        if finding.problem and not options["yes"]:
            confirm(self.action)
        self.stdout.write(self.decide())

    def decide(self) -> str:
        """Accept the mismatch; return the message to print."""
        raise NotImplementedError


def describe_inventory(finding: Finding, inventory: Inventory) -> str:
    """The report that is printed before the confirmation."""
    lines = [finding.problem.description] if finding.problem else []
    for name, mark in (("storage", finding.in_storage), ("database", finding.in_database)):
        details = "no owner mark"
        if mark:
            details = f"instance {mark.instance}, counter {mark.counter}, newest file {mark.newest_file}, "
            details += f"newest image {mark.newest_image}, database {mark.database}"
        lines.append(f"  {name + ':':10}{details}")
    lines += [
        f"This database is {finding.identity.name}, newest file {finding.identity.newest_file}.",
        f"Of the {inventory.rows} newest files of this database, {inventory.rows_with_file} are in the storage.",
        f"Of {'all' if inventory.complete else 'the first'} {inventory.keys} files in the storage, "
        f"{inventory.keys_without_row} are unknown to this database.",
    ]
    return "\n".join(lines)
