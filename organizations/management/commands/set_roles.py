from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ReportCommand, organization, user
from organizations.operations import remove_member, set_roles
from organizations.permissions import Role


class Command(ReportCommand):
    help = "Set the roles of a user in an organization, replacing all others, or remove the user with --remove."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("user", help="user ID, or a username or email that only one user has")
        parser.add_argument("roles", nargs="*", help=", ".join(Role))
        parser.add_argument("--comment", help="comment on the membership; unchanged by default")
        parser.add_argument(
            "--remove",
            action="store_true",
            help="remove the user from the organization",
        )

    def run(self, **options: Any) -> None:
        tenant, member = organization(options["organization"]), user(options["user"])
        self.report |= {"organization": tenant.name, "user_id": str(member.pk)}
        if options["remove"]:
            if options["roles"] or options["comment"] is not None:
                raise CommandError("--remove can't be combined with roles or --comment.")
            remove_member(tenant, member.pk, actor=COMMAND)
            self.report |= {"roles": [], "change": "removed"}
            self.stdout.write(f"{member} was removed from {tenant}.")
            return
        membership, change = set_roles(tenant, member.pk, options["roles"], comment=options["comment"], actor=COMMAND)
        self.report |= {"roles": membership.roles, "change": change.value}
        self.stdout.write(f"{member} in {tenant}: {', '.join(membership.roles)} ({change.value})")
