from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import organization
from rokka.core.locks import exclusive
from sourceimages.maintenance import verify
from sourceimages.management.arguments import positive_integer
from sourceimages.management.ownership import ImageCommand
from sourceimages.operations.verify import VerifiedFile


class Command(ImageCommand):
    help = (
        "Read stored files and verify their SHA-256: files not verified for VERIFY_INTERVAL_DAYS, and files known to "
        "be damaged. Removes nothing. Exits with 1 if a file is missing or corrupt."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization", nargs="?", help="only files of this organization")
        parser.add_argument("--all", action="store_true", help="also verify files that were verified recently")
        parser.add_argument("--limit", type=positive_integer, help="verify at most this many files")

    @exclusive("verify")
    def run(self, **options: Any) -> None:
        owner = organization(options["organization"]) if options["organization"] else None
        files = verify.of_organization(owner)
        due = files if options["all"] else files.filter(verify.due())
        self.report["findings"] = []
        count = verify.verify(due, actor=COMMAND, limit=options["limit"], watch=self.print_damage)
        self.stdout.write(f"{count:,} files verified")
        self.report["files"] = count
        self.report["damaged"] = damaged = files.exclude(damage="").count()
        if damaged:
            raise CommandError(f"{damaged:,} files are missing or corrupt.")

    def print_damage(self, verified: VerifiedFile) -> None:
        if verified.damage:
            file = verified.file
            name = file.organization.name
            self.report["findings"].append(
                {"organization": name, "binary_hash": file.binary_hash, "key": file.key, "damage": verified.damage}
            )
            self.stdout.write(f"ERROR: {verified.damage}: {name} {file.binary_hash} ({file.key})")
