from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from organizations.management.base import OperationCommand
from sourceimages import grace_period
from sourceimages.maintenance import garbage_collection, storage_trash
from sourceimages.maintenance.garbage_collection import Scan
from sourceimages.maintenance.survey import survey_all
from sourceimages.management.job_command import confirm
from sourceimages.management.ownership import ImageCommand


class Command(ImageCommand, OperationCommand):
    help = (
        "Move files that nothing refers to to the storage's trash, and empty that of what is in it for longer than "
        "STORAGE_TRASH_RETENTION_DAYS. Workers do the same, spread over a day. Exits with 1 if a decision is needed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--confirm", action="store_true", help="also do what waits for an operator, after asking")
        parser.add_argument("--yes", action="store_true", help="with --confirm: do not ask, for scripts")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")
        parser.add_argument(
            "--grace-seconds",
            type=int,
            metavar="N",
            help="first set, for all processes, how long a file without a row may be an upload under way",
        )

    def run(self, **options: Any) -> None:
        if options["grace_seconds"] is not None:
            grace_period.set_seconds(options["grace_seconds"])
        if options["confirm"] or options["dry_run"]:
            found = garbage_collection.classify(survey_all())
            if options["dry_run"]:
                self.stdout.write(f"This would {sentence(found)}. Nothing was changed.\n{foreign_files(found)}")
                return
            if not options["yes"]:
                confirm(sentence(found))
            collected = garbage_collection.apply_scan(found, confirmed=True)
        else:
            collected = garbage_collection.collect_garbage(at_once=True)
        emptied = storage_trash.empty_trash(at_once=True, confirmed=options["confirm"])
        self.stdout.write(f"{collected.moved} files moved to the storage's trash")
        self.stdout.write(f"{collected.temporary} temporary files removed")
        self.stdout.write(f"{emptied.recovered} files put back from the storage's trash, as they are needed")
        self.stdout.write(f"{emptied.removed} files removed from the storage's trash for ever")
        if collected.round:
            self.stdout.write(foreign_files(collected.round))
        if held := " ".join(dict.fromkeys(filter(None, (collected.held, emptied.held)))):
            raise CommandError(f"{held} --confirm does it all the same." if collected.round else held)


def sentence(found: Scan) -> str:
    return (
        f"move {found.count} files ({size(found.size)}) that nothing refers to to the storage's trash, "
        f"where they stay for {settings.STORAGE_TRASH_RETENTION_DAYS} days"
    )


def foreign_files(found: Scan) -> str:
    survey = found.survey
    examples = f", such as {', '.join(survey.foreign_examples)}" if survey.foreign else ""
    return f"{survey.foreign} files ({size(survey.foreign_bytes)}) in the storage are not rokka's, and stay{examples}"


def size(number: int) -> str:
    return filesizeformat(number).replace("\xa0", " ")
