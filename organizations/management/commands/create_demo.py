from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from organizations.audit import COMMAND
from organizations.models import Organization
from organizations.operations import create_organization_with_admin

NAME = "demo"


class Command(BaseCommand):
    help = "On the first run make a demonstration organization and print its key; say where everything is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", default="8000")

    def handle(self, *args: Any, **options: Any) -> None:
        host = f"http://127.0.0.1:{options['port']}"
        self.stdout.write(f"rokka at {host}, everything it keeps is in {settings.DATA_DIR}")
        if Organization.objects.exists():
            return
        new = create_organization_with_admin(NAME, email="demo@example.org", actor=COMMAND)
        self.stdout.write(
            f"\nThis organization was made for you to try things with. The key is shown only now:\n\n"
            f"  organization  {NAME}\n"
            f"  Api-Key       {new.api_key}\n\n"
            f"Upload a picture:\n\n"
            f"  curl -H 'Api-Key: {new.api_key}' -F filedata=@picture.jpg {host}/sourceimages/{NAME}\n"
        )
