import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import transaction

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand
from organizations.models import Organization, User
from organizations.operations import create_organization_with_admin, create_staff, set_roles
from organizations.permissions import Role

NAME, EMAIL = "demo", "demo@example.org"
# The first image of the current folder: quoted for curl too, where a comma would separate files.
IMAGE = r"""filedata=@\"$(ls | grep -Ei '\.(jpe?g|png|webp|gif|heic|avif|tiff?)$' | head -n 1)\""""


class Command(OperationCommand):
    help = (
        "Print the addresses of the server. Unless an organization exists, create a demo organization and a login to "
        "the admin, and print its API key and password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", default="8000")

    def run(self, **options: Any) -> None:
        host = f"http://127.0.0.1:{options['port']}"
        self.stdout.write(
            f"\nrokka is at {host} and stores its data in {settings.DATA_DIR}.\n\n"
            f"  Start page    {host}/\n"
            f"  API           {host}/doc/\n"
            f"  Admin         {host}/admin/\n"
        )
        if Organization.objects.exists():
            return
        key, login, password = create_demo()
        self.stdout.write(
            f"\nAn organization to try rokka with. Store key and password now: they can't be shown again.\n\n"
            f"  Organization  {NAME}\n"
            f"  Api-Key       {key}\n"
            f"  Admin login   {login}\n"
            f"  Password      {password}\n\n"
            f"Upload the first image of a folder:\n\n"
            f"  curl -H 'Api-Key: {key}' -F \"{IMAGE}\" {host}/sourceimages/{NAME}\n\n"
            f"Render it with a width of 400 pixels, with the hash of the response:\n\n"
            f"  {host}/render/{NAME}/dynamic/resize-width-400/HASH.webp\n"
        )


@transaction.atomic
def create_demo() -> tuple[str, str, str]:
    """Create the organization and a staff user who is an admin of it; returns the API key, login and password."""
    new = create_organization_with_admin(NAME, email=EMAIL, actor=COMMAND)
    password = secrets.token_urlsafe(12)
    taken = User.objects.filter(username=NAME).exists()
    staff = create_staff(f"{NAME}-{secrets.token_hex(3)}" if taken else NAME, password, email=EMAIL, actor=COMMAND)
    set_roles(new.organization, staff.pk, [Role.ADMIN], comment=None, actor=COMMAND)
    return new.api_key, str(staff.username), password
