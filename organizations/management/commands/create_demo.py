from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from organizations.audit import COMMAND
from organizations.models import Organization
from organizations.operations import create_organization_with_admin

NAME = "demo"


class Command(BaseCommand):
    help = "Create a demo organization, unless an organization exists. Prints its API key and where data is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", default="8000")

    def handle(self, *args: Any, **options: Any) -> None:
        host = f"http://127.0.0.1:{options['port']}"
        self.stdout.write(f"rokka is at {host} and stores its data in {settings.DATA_DIR}.")
        if Organization.objects.exists():
            return
        new = create_organization_with_admin(NAME, email="demo@example.org", actor=COMMAND)
        self.stdout.write(
            f"\nCreated an organization to try rokka with. Store the API key now: it can't be shown again.\n\n"
            f"  organization  {NAME}\n"
            f"  Api-Key       {new.api_key}\n\n"
            f"Upload an image:\n\n"
            f"  curl -H 'Api-Key: {new.api_key}' -F filedata=@image.jpg {host}/sourceimages/{NAME}\n"
        )
