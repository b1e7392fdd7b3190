from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand, organization
from sourceimages.maintenance import verify
from sourceimages.management.ownership import ImageCommand
from sourceimages.models import StoredFile
from sourceimages.operations.verify import VerifiedFile


class Command(ImageCommand, OperationCommand):
    help = (
        "Read stored files and compare them with their sha256: those not verified for VERIFY_INTERVAL_DAYS, and those "
        "known to be damaged. Removes nothing. Exits with 1 if a file is missing or corrupt."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization", nargs="?", help="verify only its files")
        parser.add_argument("--all", action="store_true", help="verify every file, whenever it was verified last")
        parser.add_argument("--limit", type=int, help="stop after this many files")

    def run(self, **options: Any) -> None:
        owner = organization(options["organization"]) if options["organization"] else None
        files = verify.of_organization(owner)
        wanted = files if options["all"] else files.filter(verify.due())
        count = verify.verify(wanted, actor=COMMAND, limit=options["limit"], watch=self.report)
        self.stdout.write(f"{count:,} files verified")
        damaged = files.exclude(damage="").count()
        if damaged:
            raise CommandError(f"{damaged:,} files are missing or corrupt")

    def report(self, verified: VerifiedFile) -> None:
        if verified.damage:
            self.stdout.write(describe(verified.file, verified.damage))


def describe(file: StoredFile, damage: str) -> str:
    return f"{damage}: {file.organization.name} {file.binary_hash} under {file.key}"
