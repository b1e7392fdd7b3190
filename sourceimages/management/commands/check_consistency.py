from typing import Any

from django.core.management.base import CommandError, CommandParser

from sourceimages.maintenance import consistency
from sourceimages.management.ownership import ImageCommand


class Command(ImageCommand):
    writes = False
    help = (
        "Read every row and every key and say what contradicts what must always be true. "
        "Exits with 1 if anything is wrong. Bytes without a row are only mentioned: garbage collection takes them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--verify-checksums", action="store_true", help="hash all stored bytes again; this takes long"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in consistency.check(verify_checksums=options["verify_checksums"]):
            wrong += not finding.harmless
            self.stdout.write(f"{'note' if finding.harmless else 'WRONG'}: {finding.message}")
        for remark in consistency.remarks():
            self.stderr.write(f"note: {remark}")
        if wrong:
            raise CommandError(f"{wrong} contradictions")
        self.stdout.write("everything holds")
