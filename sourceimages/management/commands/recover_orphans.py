from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from rokka.core.errors import DomainError
from sourceimages.maintenance import recovery
from sourceimages.maintenance.recovery import Outcome
from sourceimages.management.recovering import RecoveryCommand


class Command(RecoveryCommand):
    help = (
        "Make images of files that have lost their row: organization and sha1 are in the key, and the content is "
        "verified. Their names and metadata are lost; each is called by its sha1."
    )
    since = "only files that were stored at this time or later"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--recent", action="store_true", help="also files younger than the grace time, such as from recover_files"
        )
        parser.add_argument("--protected", action="store_true", help="make protected images, which have other hashes")

    def run(self, **options: Any) -> None:
        found = list(recovery.orphans(self.file_filter(options), recent=options["recent"]))
        if not self.confirmed(found, "make images of {} without a row", options):
            return
        outcomes: Counter[Outcome] = Counter()
        refused = 0
        for held in found:
            try:
                outcomes[recovery.recover_orphan(held.key, protected=options["protected"], actor=COMMAND)] += 1
            except DomainError as error:
                refused += 1
                self.stderr.write(f"{held.key}: {error.message}")
        self.stdout.write(f"{outcomes[Outcome.RECOVERED]} images recovered")
        self.stdout.write(f"{outcomes[Outcome.KNOWN]} skipped: their organization has the same content already")
        self.stdout.write(f"{outcomes[Outcome.CHANGED]} skipped: their content is not that of their sha1")
        if refused:
            raise CommandError(f"{refused} files could not be made images of.")
