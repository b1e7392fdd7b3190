"""Base class of commands that recover files: filters and confirmation."""

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from organizations.management.base import ChangeCommand, organization
from sourceimages.maintenance.recovery import FileFilter
from sourceimages.management.arguments import parse_time
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import add_yes_option, confirm, count_label, size_label
from sourceimages.storage import StoredObject


class RecoveryCommand(ImageCommand, ChangeCommand):
    """A command that counts files, confirms, and processes each of them."""

    timestamp: str  # which time --since and --until refer to, such as "stored"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keys", nargs="*", metavar="KEY", help="storage keys of files (default: all files)")
        parser.add_argument("--organization", metavar="NAME", help="only files of this organization")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help=f"only files {self.timestamp} at or after this time (ISO 8601, UTC)",
        )
        parser.add_argument("--until", metavar="TIME", help=f"only files {self.timestamp} at or before this time")
        add_yes_option(parser)

    def file_filter(self, options: dict[str, Any]) -> FileFilter:
        name = options["organization"]
        return FileFilter(
            frozenset(options["keys"]),
            organization(name) if name else None,
            parse_time(options, "since"),
            parse_time(options, "until"),
        )

    def confirmed(self, files: Sequence[StoredObject], description: str, options: dict[str, Any]) -> bool:
        """Whether to continue: there are files, it is not a dry run, and the user or --yes confirms.

        `description` is the action, with {} for the files. Raises CommandError if the user declines.
        """
        self.report_not_found(set(options["keys"]).difference(file.key for file in files))
        size = sum(file.size for file in files)
        self.report |= {"files": len(files), "bytes": size}
        action = description.format(f"{count_label(len(files), 'file')} ({size_label(size)})")
        if options["dry_run"]:
            self.stdout.write(f"[dry run] Would {action}.")
            return False
        if not files:
            self.stdout.write(f"Nothing to do: would {action}.")
            return False
        if not options["yes"]:
            confirm(action)
        return True
