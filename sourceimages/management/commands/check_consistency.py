from collections import Counter
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
        super().add_arguments(parser)
        parser.add_argument(
            "--verify-checksums", action="store_true", help="also read all stored files and verify their SHA-256 (slow)"
        )

    def run(self, **options: Any) -> None:
        counts: Counter[Severity] = Counter()
        findings = self.report["findings"] = []
        for finding in consistency.check(verify_checksums=options["verify_checksums"]):
            counts[finding.severity] += 1
            if options["json"]:  # there can be as many as files
                findings.append({"level": finding.severity.lower(), "message": finding.message})
            self.stdout.write(f"{finding.severity}: {finding.message}")
        self.report |= {"errors": counts[Severity.ERROR], "warnings": counts[Severity.WARNING]}
        for note in consistency.storage_notes():
            self.stderr.write(f"INFO: {note}")
        if counts[Severity.ERROR]:
            raise CommandError(f"{count_label(counts[Severity.ERROR], 'problem')} found.")
        self.stdout.write("No problems found.")
