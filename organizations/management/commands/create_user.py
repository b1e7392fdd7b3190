from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from organizations.audit import COMMAND
from organizations.management.base import SHOWN_ONCE, OperationCommand, organization
from organizations.operations import create_user, set_roles


class Command(OperationCommand):
    help = "Create an API user, optionally in an organization, and print its API key. The key can't be shown again."
    json = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", help="email; several users can have the same")
        parser.add_argument("--organization", help="organization to add the user to")
        parser.add_argument("--role", action="append", default=[], help="role in the organization; can be repeated")
        parser.add_argument("--comment", default="", help="comment on the key and the membership")

    @transaction.atomic
    def run(self, **options: Any) -> None:
        if bool(options["organization"]) != bool(options["role"]):
            raise CommandError("--organization and --role must be used together.")
        comment = options["comment"]
        new = create_user(options["email"], comment=comment, actor=COMMAND)
        fields = {"email": new.user.email, "user_id": str(new.user.pk), "api_key": new.api_key}
        if options["organization"]:
            tenant = organization(options["organization"])
            membership, _ = set_roles(tenant, new.user.pk, options["role"], comment=comment, actor=COMMAND)
            fields |= {"organization": tenant.name, "roles": ", ".join(membership.roles)}
        self.print_fields(fields, as_json=options["json"], note=SHOWN_ONCE)
