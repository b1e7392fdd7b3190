from typing import Any

from django.core.management.base import CommandError, CommandParser

from sourceimages.maintenance import consistency
from sourceimages.maintenance.consistency import Severity
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import count_label


class Command(ImageCommand):
    writes = False
    help = (
        "Check all rows and all storage keys for inconsistencies. Exits with 1 if there are errors. "
        "Orphaned files and rows are warnings: garbage collection removes them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--verify-checksums", action="store_true", help="also read all stored files and verify their SHA-256 (slow)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        errors = 0
        for finding in consistency.check(verify_checksums=options["verify_checksums"]):
            errors += finding.severity is Severity.ERROR
            self.stdout.write(f"{finding.severity}: {finding.message}")
        for note in consistency.storage_notes():
            self.stderr.write(f"INFO: {note}")
        if errors:
            raise CommandError(f"{count_label(errors, 'problem')} found.")
        self.stdout.write("No problems found.")
