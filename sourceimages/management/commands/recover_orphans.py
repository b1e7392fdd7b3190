from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from rokka.core.errors import DomainError
from sourceimages.maintenance import recovery
from sourceimages.maintenance.recovery import Outcome
from sourceimages.management.recovering import RecoveryCommand
from sourceimages.management.terminal import count_label


class Command(RecoveryCommand):
    help = (
        "Create images from orphaned files. Organization and SHA-1 are read from the storage key, and the content is "
        "verified. Names and metadata are lost: each image is named after its SHA-1."
    )
    timestamp = "stored"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--recent",
            action="store_true",
            help="also files younger than ORPHAN_GRACE_SECONDS, such as those of recover_files",
        )
        parser.add_argument(
            "--protected", action="store_true", help="create protected images (protection is part of their hash)"
        )

    def run(self, **options: Any) -> None:
        files = list(recovery.orphans(self.file_filter(options), recent=options["recent"]))
        if not self.confirmed(files, "create images from {} without a row", options):
            return
        outcomes: Counter[Outcome] = Counter()
        failed = 0
        for file in files:
            try:
                outcomes[recovery.recover_orphan(file.key, protected=options["protected"], actor=COMMAND)] += 1
            except DomainError as error:
                failed += 1
                self.stderr.write(f"ERROR: {file.key}: {error.message}")
        self.report |= {outcome.value: outcomes[outcome] for outcome in Outcome} | {"failed": failed}
        self.stdout.write(f"{count_label(outcomes[Outcome.RECOVERED])} recovered")
        self.stdout.write(f"{outcomes[Outcome.KNOWN]} skipped: the organization has the same file already")
        self.stdout.write(f"{outcomes[Outcome.CHANGED]} skipped: the content doesn't match its SHA-1")
        if failed:
            raise CommandError(f"{count_label(failed, 'file')} failed.")
