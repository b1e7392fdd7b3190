from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from organizations.management.base import ChangeCommand
from rokka.core.locks import exclusive
from sourceimages import grace_period
from sourceimages.maintenance import garbage_collection, storage_trash
from sourceimages.maintenance.garbage_collection import Scan
from sourceimages.maintenance.survey import survey_all
from sourceimages.management.arguments import positive_integer
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import add_yes_option, confirm, count_label, size_label


class Command(ImageCommand, ChangeCommand):
    help = (
        "Move orphaned files to the storage trash, and delete files that have been there for longer than "
        "STORAGE_TRASH_RETENTION_DAYS. Workers do the same in steps over a day. Exits with 1 if it needs --confirm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--confirm", action="store_true", help="also move and delete files that are held for an operator to confirm"
        )
        add_yes_option(parser, condition="with --confirm: ")
        parser.add_argument(
            "--grace-seconds",
            type=positive_integer,
            metavar="N",
            help="first set, for all processes, the minimum age of an orphaned file before it is moved",
        )

    def run(self, **options: Any) -> None:
        if options["grace_seconds"] is not None:
            grace_period.set_seconds(options["grace_seconds"])
        if options["confirm"] or options["dry_run"]:
            scan = garbage_collection.classify(survey_all())
            if options["dry_run"]:
                self._count(scan, confirmed=options["confirm"])
                return
            if not options["yes"]:
                confirm(describe(scan))
            self._collect(scan, confirmed=True)
        else:
            self._collect(None, confirmed=False)

    @exclusive("collect_garbage")
    @exclusive("empty_storage_trash")
    def _collect(self, scan: Scan | None, *, confirmed: bool) -> None:
        """Collect what the confirmed scan has found, or what a new one finds."""
        if scan:
            collected = garbage_collection.apply_scan(scan, confirmed=True)
        else:
            collected = garbage_collection.collect_garbage(at_once=True)
        emptied = storage_trash.empty_trash(at_once=True, confirmed=confirmed)
        if confirmed:
            collected = replace(collected, temporary=garbage_collection.delete_old_temp_files())
        self.report |= {"moved": collected.moved, "temporary": collected.temporary}
        self.report |= {"recovered": emptied.recovered, "removed": emptied.removed}
        self.stdout.write(f"{count_label(collected.moved, 'file')} moved to the storage trash")
        self.stdout.write(f"{count_label(collected.temporary, 'temporary file')} deleted")
        self.stdout.write(f"{count_label(emptied.recovered, 'file')} recovered from the storage trash")
        self.stdout.write(f"{count_label(emptied.removed, 'file')} permanently deleted from the storage trash")
        if collected.scan:
            self.stdout.write(foreign_files(collected.scan))
        if held := " ".join(dict.fromkeys(filter(None, (collected.held, emptied.held)))):
            raise CommandError(f"{held} Pass --confirm to continue." if collected.scan else held)

    def _count(self, scan: Scan, *, confirmed: bool) -> None:
        """Print what a run would do."""
        held = scan.count > scan.limit and not confirmed
        emptied = storage_trash.empty_trash(at_once=True, confirmed=confirmed, dry_run=True)
        temporary = len(garbage_collection.old_temp_files())
        self.report |= {"moved": 0 if held else scan.count, "temporary": temporary}
        self.report |= {"recovered": emptied.recovered, "removed": emptied.removed}
        self.stdout.write(
            f"[dry run] Would {describe(scan)}{', with --confirm' if held else ''}.\n{foreign_files(scan)}"
        )
        self.stdout.write(f"[dry run] Would delete {count_label(temporary, 'temporary file')}.")
        self.stdout.write(
            f"[dry run] Would recover {count_label(emptied.recovered, 'file')} from the storage trash, and permanently "
            f"delete {count_label(emptied.removed, 'file')} from it."
        )


def describe(scan: Scan) -> str:
    return (
        f"move {count_label(scan.count, 'orphaned file')} ({size_label(scan.size)}) to the storage trash, "
        f"and delete them after {settings.STORAGE_TRASH_RETENTION_DAYS} days"
    )


def foreign_files(scan: Scan) -> str:
    survey = scan.survey
    count = count_label(survey.foreign, "file")
    examples = f", for example {', '.join(survey.foreign_examples)}" if survey.foreign else ""
    return f"{count} ({size_label(survey.foreign_bytes)}) in the storage not created by rokka, skipped{examples}"
