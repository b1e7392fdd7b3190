from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from organizations.audit import COMMAND
from organizations.management.base import SHOWN_ONCE, OperationCommand, organization
from organizations.operations import create_user, set_roles


class Command(OperationCommand):
    help = "Make an API user, as a member of an organization if one is named, and print its key, shown only now."
    json = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", help="address; several users may have the same")
        parser.add_argument("--organization", help="where the user becomes a member")
        parser.add_argument("--role", action="append", default=[], help="role there; may be given several times")
        parser.add_argument("--comment", default="", help="what the key and the membership are for")

    @transaction.atomic
    def run(self, **options: Any) -> None:
        if bool(options["organization"]) != bool(options["role"]):
            raise CommandError("--organization and --role need each other.")
        comment = options["comment"]
        new = create_user(options["email"], comment=comment, actor=COMMAND)
        facts = {"email": new.user.email, "user_id": str(new.user.pk), "api_key": new.api_key}
        if options["organization"]:
            where = organization(options["organization"])
            member, _ = set_roles(where, new.user.pk, options["role"], comment=comment, actor=COMMAND)
            facts |= {"organization": where.name, "roles": ", ".join(member.roles)}
        self.print_fields(facts, as_json=options["json"], remark=SHOWN_ONCE)
