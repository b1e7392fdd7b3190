from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Sum
from django.template.defaultfilters import filesizeformat

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand
from sourceimages import task_state
from sourceimages.maintenance import purge
from sourceimages.management.job_command import EXIT_INTERRUPTED, confirm, count_label, graceful_interrupt, progress_bar
from sourceimages.management.ownership import ImageCommand
from sourceimages.models import SourceImage


class Command(ImageCommand, OperationCommand):
    help = (
        "Permanently delete images that are in the trash for longer than TRASH_RETENTION_DAYS. Their files go to "
        "the storage's trash. After a leap of the clock, or with more than a tenth of all pictures, it waits for a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only count them")
        parser.add_argument("--confirm", action="store_true", help="do not wait for a day, after asking")
        parser.add_argument("--yes", action="store_true", help="with --confirm: do not ask, for scripts")

    def _print_left(self) -> None:
        """Somebody wanted these images back: they are shown before they are removed, not after."""
        left = purge.to_purge().partially_restored().select_related("organization").order_by("deleted_at", "id")
        lines = [
            f"  {one.organization} {one.pk}  {one.deleted_at:%Y-%m-%d %H:%M} UTC, {one.reason}: {count_label(count)}"
            for one, count in ((one, one.images.count()) for one in left)
        ]
        if lines:
            self.stdout.write("\n".join(["Deletions with images that were left by a restore:", *lines]))

    def run(self, **options: Any) -> None:
        self._print_left()
        due = SourceImage.objects.filter(tombstone__in=purge.to_purge())
        found = due.aggregate(count=Count("id"), size=Sum("size"))
        size = filesizeformat(found["size"] or 0).replace("\xa0", " ")
        sentence = f"remove {count_label(found['count'])} ({size}) for ever"
        if options["dry_run"]:
            self.stdout.write(f"This would {sentence}. Nothing was changed.")
            return
        if options["confirm"] and not options["yes"]:
            confirm(sentence)
        removed = self._purge(found["count"], options["confirm"])
        self.stdout.write(f"{count_label(removed)} removed for ever.")
        if held := task_state.get(purge.TASK).held_reason:
            raise CommandError(f"The purge waits. {held} It goes on within a day, or with --confirm.")

    def _purge(self, count: int, confirmed: bool) -> int:
        removed = 0
        try:
            with graceful_interrupt() as check, progress_bar(count) as shown:

                def watch(batch: int) -> None:
                    nonlocal removed
                    removed += batch
                    shown.update(batch)
                    check()

                return purge.purge_expired(actor=COMMAND, watch=watch, confirmed=confirmed)
        except KeyboardInterrupt:
            raise CommandError(
                f"Stopped: {count_label(removed)} removed for ever. Run it again to go on.", returncode=EXIT_INTERRUPTED
            ) from None
