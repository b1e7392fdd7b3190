"""What commands share that bring files back: which ones are meant, and what is asked before."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from organizations.management.base import OperationCommand, organization
from sourceimages.maintenance.recovery import FileFilter
from sourceimages.management.job_command import confirm
from sourceimages.management.ownership import ImageCommand
from sourceimages.search.periods import period
from sourceimages.storage import StoredObject


class RecoveryCommand(ImageCommand, OperationCommand):
    """A command that counts files, asks, and does something to each."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keys", nargs="*", metavar="KEY", help="keys of files; all that match without one")
        parser.add_argument("--organization", metavar="NAME", help="only files of this organization")
        parser.add_argument("--since", metavar="TIME", type=parse_time, help=f"{self.since} (ISO 8601, UTC)")
        parser.add_argument("--until", metavar="TIME", type=parse_time, help="likewise, and not later")
        parser.add_argument("--yes", action="store_true", help="do not ask, for scripts")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    since = "only files that came there at this time or later"

    def file_filter(self, options: dict[str, Any]) -> FileFilter:
        name = options["organization"]
        return FileFilter(
            frozenset(options["keys"]),
            organization(name) if name else None,
            options["since"],
            options["until"],
        )

    def confirmed(self, found: Sequence[StoredObject], what: str, options: dict[str, Any]) -> bool:
        """Whether to go on: there are files, it is no dry run, and a person or --yes agrees."""
        size = filesizeformat(sum(held.size for held in found)).replace("\xa0", " ")
        sentence = what.format(f"{len(found)} files ({size})")
        if not found or options["dry_run"]:
            self.stdout.write(f"This would {sentence}. Nothing was changed.")
            return False
        if not options["yes"]:
            confirm(sentence)
        return True


def parse_time(text: str) -> datetime:
    try:
        return period(text).start
    except ValueError as error:
        raise CommandError(f"{text!r} is not a time: use ISO 8601, such as 2026-11-29T10:00.") from error
