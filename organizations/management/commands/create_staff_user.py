import sys
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ReportCommand
from organizations.operations import create_staff


class Command(ReportCommand):
    help = "Create a staff user for the admin. The password is prompted for, or read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--email", required=True)
        parser.add_argument("--superuser", action="store_true", help="grant all permissions in every organization")

    def run(self, **options: Any) -> None:
        fields = {"email": options["email"], "superuser": options["superuser"]}
        user = create_staff(options["username"], self._password(), **fields, actor=COMMAND)
        self.report |= {"user_id": str(user.pk), "username": user.username} | fields
        self.stdout.write(f"Created {user.username}, who can log in at /admin/.")

    def _password(self) -> str:
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\r\n")
        password = getpass("Password: ")
        if getpass("Password (again): ") != password:
            raise CommandError("The passwords don't match.")
        return password
