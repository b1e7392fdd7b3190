import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import SHOWN_ONCE, OperationCommand, user
from organizations.operations import KeyOptions, create_key, import_key


class Command(OperationCommand):
    help = "Create an API key for a user and print it, or import an existing key from rokka.io."
    json = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", help="user ID, or a username or email that only one user has")
        parser.add_argument("--comment", default="", help="comment on the key")
        parser.add_argument(
            "--trusted", action="store_true", help="the key manages the account even if the user is public"
        )
        parser.add_argument(
            "--import",
            action="store_true",
            dest="imported",
            help="read an existing key from standard input (32 or 64 letters and digits)",
        )

    def run(self, **options: Any) -> None:
        owner, comment = user(options["user"]), options["comment"]
        if options["imported"] and options["trusted"]:
            raise CommandError("--trusted can't be combined with --import.")
        if options["imported"]:
            row = import_key(owner, sys.stdin.readline().strip(), comment=comment, actor=COMMAND)
            self.print_fields({"user_id": str(owner.pk), "key_id": str(row.pk)}, as_json=options["json"])
            return
        row, key = create_key(owner, comment=comment, options=KeyOptions(trusted=options["trusted"]), actor=COMMAND)
        fields = {"user_id": str(owner.pk), "key_id": str(row.pk), "api_key": key}
        self.print_fields(fields, as_json=options["json"], note=SHOWN_ONCE)
