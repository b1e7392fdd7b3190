from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.base import SHOWN_ONCE, OperationCommand
from organizations.operations import create_organization_with_admin


class Command(OperationCommand):
    help = "Create an organization and its first admin, and print the admin's API key. The key can't be shown again."
    json = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="1-63 lowercase letters, digits or hyphens; can't be changed later")
        parser.add_argument("--email", required=True, help="email of the first admin")

    def run(self, **options: Any) -> None:
        new = create_organization_with_admin(options["name"], email=options["email"], actor=COMMAND)
        fields = {
            "organization": new.organization.name,
            "email": new.user.email,
            "user_id": str(new.user.pk),
            "api_key": new.api_key,
        }
        self.print_fields(fields, as_json=options["json"], note=SHOWN_ONCE)
