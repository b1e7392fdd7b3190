"""What commands say, and refuse, while database and storage do not belong together."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rokka.errors import DomainError
from sourceimages import ownership
from sourceimages.ownership import Finding
from sourceimages.ownership.decisions import Inventory

READ_ONLY = ("dry_run", "list")  # options with which a command changes nothing


class ImageCommand(BaseCommand):
    """A command about images or their files: it names a mismatch on standard error, and refuses if it would write."""

    writes = True

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            ownership.check_writable()
        except DomainError as error:
            if self.writes and not any(options.get(name) for name in READ_ONLY):
                raise CommandError(error.message) from error
            self.stderr.write(error.message)
        return super().execute(*args, **options)


def described(finding: Finding, inventory: Inventory) -> str:
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
