from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.arguments import OperationCommand
from sourceimages.maintenance import purge
from sourceimages.management.progress import EXIT_INTERRUPTED, bar, patience, pictures
from sourceimages.models import SourceImage, Tombstone


class Command(OperationCommand):
    help = "Remove for ever the pictures that are in the trash for longer than TRASH_DAYS, and bytes only they had."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def run(self, **options: Any) -> None:
        count = SourceImage.objects.filter(tombstone__in=Tombstone.objects.expired()).count()
        if options["dry_run"]:
            self.stdout.write(f"This would remove {pictures(count)} for ever. Nothing was changed.")
            return
        removed = 0
        try:
            with patience() as check, bar(count) as shown:

                def watch(batch: int) -> None:
                    nonlocal removed
                    removed += batch
                    shown.update(batch)
                    check()

                purge.purge_expired(actor=COMMAND, watch=watch)
        except KeyboardInterrupt:
            raise CommandError(
                f"Stopped: {pictures(removed)} removed for ever. Run it again to go on.", returncode=EXIT_INTERRUPTED
            ) from None
        self.stdout.write(f"{pictures(removed)} removed for ever.")
