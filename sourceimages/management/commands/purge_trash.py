from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Sum

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand
from rokka.core.locks import exclusive
from sourceimages import task_state
from sourceimages.maintenance import purge
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import (
    EXIT_INTERRUPTED,
    add_yes_option,
    confirm,
    count_label,
    graceful_interrupt,
    progress_bar,
    size_label,
)
from sourceimages.models import SourceImage


class Command(ImageCommand, ChangeCommand):
    help = (
        "Permanently delete images that have been in the trash for longer than TRASH_RETENTION_DAYS, and move their "
        "files to the storage trash. After a clock jump, or for more than a tenth of all images, it waits for a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--confirm", action="store_true", help="do not wait for a day")
        add_yes_option(parser, condition="with --confirm: ")

    def run(self, **options: Any) -> None:
        self._print_partially_restored()
        due = SourceImage.objects.filter(tombstone__in=purge.to_purge())
        if options["dry_run"] and not options["confirm"] and purge.must_wait(purge.to_purge()):
            due = due.filter(tombstone__purge_confirmed=True)
        totals = due.aggregate(count=Count("id"), size=Sum("size"))
        action = f"permanently delete {count_label(totals['count'])} ({size_label(totals['size'] or 0)})"
        if options["dry_run"]:
            self.report |= {"images": totals["count"], "held": task_state.get(purge.TASK).held_reason}
            self.stdout.write(" ".join(filter(None, (f"[dry run] Would {action}.", str(self.report["held"])))))
            return
        if options["confirm"] and not options["yes"]:
            confirm(action)
        removed = self._purge(totals["count"], options["confirm"])
        held = task_state.get(purge.TASK).held_reason
        self.report |= {"images": removed, "held": held}
        self.stdout.write(f"{count_label(removed)} permanently deleted.")
        if held:
            raise CommandError(f"Purge on hold. {held} It resumes within a day. Pass --confirm to purge now.")

    def _print_partially_restored(self) -> None:
        """A user tried to restore these images, so they are listed before they are deleted."""
        deletions = purge.to_purge().partially_restored().select_related("organization").order_by("deleted_at", "id")
        lines = [
            f"  {one.organization} {one.pk}  {one.deleted_at:%Y-%m-%d %H:%M} UTC, {one.reason}: {count_label(count)}"
            for one, count in ((one, one.images.count()) for one in deletions)
        ]
        if lines:
            self.stdout.write("\n".join(["Partially restored deletions:", *lines]))

    @exclusive("purge")
    def _purge(self, count: int, confirmed: bool) -> int:
        removed = 0
        try:
            with graceful_interrupt() as check, progress_bar(count) as bar:

                def watch(batch: int) -> None:
                    nonlocal removed
                    removed += batch
                    bar.update(batch)
                    check()

                return purge.purge_expired(actor=COMMAND, watch=watch, confirmed=confirmed)
        except KeyboardInterrupt:
            raise CommandError(
                f"Paused: {count_label(removed)} permanently deleted. Run the same command again to resume.",
                returncode=EXIT_INTERRUPTED,
            ) from None
