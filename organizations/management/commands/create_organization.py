import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.operations import create_organization
from rokka.errors import DomainError


class Command(BaseCommand):
    help = "Make an organization with its first admin, and print the admin's API key, which is shown only now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="1 to 63 of a-z, 0-9 and hyphens; it never changes")
        parser.add_argument("--email", required=True, help="address of the first admin")
        parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            new = create_organization(options["name"], email=options["email"], actor=COMMAND)
        except DomainError as error:
            raise CommandError(error.message) from error
        facts = {
            "organization": new.organization.name,
            "email": new.user.email,
            "user_id": str(new.user.pk),
            "api_key": new.api_key,
        }
        if options["json"]:
            self.stdout.write(json.dumps(facts))
        else:
            for name, value in facts.items():
                self.stdout.write(f"{name + ':':14}{value}")
            self.stdout.write("The key is not kept and cannot be shown again.")
