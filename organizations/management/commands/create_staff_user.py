import sys
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand
from organizations.operations import create_staff


class Command(OperationCommand):
    help = "Make a person for the back-office. The password is asked for, or read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--email", required=True)
        parser.add_argument("--superuser", action="store_true", help="may do everything in every organization")

    def run(self, **options: Any) -> None:
        about = {"email": options["email"], "superuser": options["superuser"]}
        person = create_staff(options["username"], self._password(), **about, actor=COMMAND)
        self.stdout.write(f"{person.username} can log in at /admin/.")

    def _password(self) -> str:
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\r\n")
        password = getpass("Password: ")
        if getpass("Once more: ") != password:
            raise CommandError("These were two different passwords.")
        return password
