from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand, organization, user
from organizations.operations import remove_member, set_roles
from organizations.permissions import Role


class Command(OperationCommand):
    help = "Give a user these roles in an organization and no others; with --remove end the membership."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("user", help="id, or an e-mail address that only one user has")
        parser.add_argument("roles", nargs="*", help=", ".join(Role))
        parser.add_argument("--comment", help="what the membership is for; otherwise it stays")
        parser.add_argument("--remove", action="store_true", help="end the membership; the user and its keys remain")

    def run(self, **options: Any) -> None:
        where, who = organization(options["organization"]), user(options["user"])
        if options["remove"]:
            remove_member(where, who.pk, actor=COMMAND)
            self.stdout.write(f"{who} is no member of {where} any more.")
            return
        member, outcome = set_roles(where, who.pk, options["roles"], comment=options["comment"], actor=COMMAND)
        self.stdout.write(f"{who} in {where}: {', '.join(member.roles)} ({outcome.value})")
