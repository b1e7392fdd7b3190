from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ReportCommand, user
from organizations.operations import remove_totp


class Command(ReportCommand):
    help = "Remove the second factor of a user who has lost it. Keys of the user no longer require one."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", help="user ID, or a username or email that only one user has")

    def run(self, **options: Any) -> None:
        owner = user(options["user"])
        self.report["user_id"] = str(owner.pk)
        remove_totp(owner, actor=COMMAND)
        self.stdout.write(f"{owner} has no second factor.")
