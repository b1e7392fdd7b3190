from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.auth.signed_urls import EXPIRY_ROUNDING_SECONDS, round_up, signed_url
from organizations.management.base import OperationCommand, organization
from rendering.explain import located
from sourceimages.management.arguments import positive_integer


class Command(OperationCommand):
    help = "Signs a render URL with a signing key of its organization."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="a render URL")
        parser.add_argument(
            "--seconds", type=positive_integer, help="how long the signature is valid; without it, forever"
        )
        parser.add_argument("--host", default="", help="how hosts are built: https://example.org/{organization}")

    def run(self, **options: Any) -> None:
        url, seconds = options["url"], options["seconds"]
        name, _, _ = located(url, options["host"])
        key = organization(name).signing_keys.order_by("created").first()
        if key is None:
            raise CommandError(f"Organization {name!r} has no signing key. Create one in the API or the admin.")
        until = None
        if seconds is not None:
            until = round_up(datetime.now(UTC) + timedelta(seconds=seconds), EXPIRY_ROUNDING_SECONDS)
        self.stdout.write(signed_url(url, key.key, until=until))
