from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.base import SHOWN_ONCE, OperationCommand
from organizations.operations import create_organization_with_admin


class Command(OperationCommand):
    help = "Make an organization with its first admin, and print the admin's API key, which is shown only now."
    json = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="1 to 63 of a-z, 0-9 and hyphens; it never changes")
        parser.add_argument("--email", required=True, help="address of the first admin")

    def run(self, **options: Any) -> None:
        new = create_organization_with_admin(options["name"], email=options["email"], actor=COMMAND)
        facts = {
            "organization": new.organization.name,
            "email": new.user.email,
            "user_id": str(new.user.pk),
            "api_key": new.api_key,
        }
        self.print_fields(facts, as_json=options["json"], remark=SHOWN_ONCE)
