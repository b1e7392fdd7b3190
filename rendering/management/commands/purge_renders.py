from typing import Any

from django.core.management.base import CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand, organization
from rendering.cache import renders
from rendering.lookups import find_image
from rendering.operations import get_stack
from rendering.operations.cache import purge_image, purge_organization, purge_stack


class Command(ChangeCommand):
    help = "Removes renders from the cache: of an image, of a stack, or all of an organization."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization", help="name of the organization")
        chosen = parser.add_mutually_exclusive_group()
        chosen.add_argument("--image", metavar="HASH", help="only the renders of this image")
        chosen.add_argument("--stack", metavar="NAME", help="only the renders of this stack")

    def run(self, **options: Any) -> None:
        owner = organization(options["organization"])
        if options["stack"]:
            stack = get_stack(owner, options["stack"])
            self.report["stack"] = stack.name
            if options["dry_run"]:
                self.stdout.write(f"[dry run] Would purge stack {stack.name!r}.")
                return
            purge_stack(stack, actor=COMMAND)
            self.stdout.write(f"Purged stack {stack.name!r}: it will be rendered again.")
            return
        image = find_image(owner, options["image"]) if options["image"] else None
        if options["dry_run"]:
            self.report["renders"] = count = renders().count(owner.pk, image.hash if image else "")
            self.stdout.write(f"[dry run] Would remove {count} renders.")
            return
        count = purge_image(image, actor=COMMAND) if image else purge_organization(owner, actor=COMMAND)
        self.report["renders"] = count
        self.stdout.write(f"Removed {count} renders.")
