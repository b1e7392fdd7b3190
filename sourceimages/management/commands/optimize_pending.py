from collections import Counter
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand, organization
from rokka.core.errors import DomainError
from sourceimages import operations
from sourceimages.management.job_command import confirm
from sourceimages.management.ownership import ImageCommand
from sourceimages.operations import Undone
from sourceimages.search.periods import period


class Command(ImageCommand, OperationCommand):
    help = (
        "Rewrite now, in this process, what was uploaded with optimize_source and waits for it. "
        "With --undo: bring files back as they were uploaded, as long as they lie in the storage's trash."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--undo", action="store_true", help="bring back files that were optimized")
        parser.add_argument("organization", nargs="?", help="with --undo: only files of this organization")
        parser.add_argument("hash", nargs="*", help="with --undo: only these, by hash, short hash or binary hash")
        parser.add_argument("--since", metavar="TIME", help="with --undo: only what was optimized since; ISO 8601, UTC")
        parser.add_argument("--dry-run", action="store_true", help="with --undo: only count them")
        parser.add_argument("--yes", action="store_true", help="with --undo: do not ask, for scripts")

    def run(self, **options: Any) -> None:
        if options["undo"]:
            self._undo(**options)
        elif options["organization"] or options["since"] or options["dry_run"] or options["yes"]:
            raise CommandError("An organization, hashes, --since, --dry-run and --yes are for --undo only.")
        else:
            self._optimize()

    def _optimize(self) -> None:
        done, failed, last = 0, 0, 0
        while ids := operations.waiting_to_be_optimized(last):
            for last in ids:
                try:
                    done += operations.optimize(last)
                except DomainError as error:
                    failed += 1
                    self.stderr.write(f"file {last}: {error.message}")
        self.stdout.write(f"{done} files done")
        if failed:
            raise CommandError(f"{failed} files failed.")

    def _undo(self, *, dry_run: bool, yes: bool, **options: Any) -> None:
        where = organization(options["organization"]) if options["organization"] else None
        files = operations.optimized_files(where, options["hash"], since=_time(options["since"]))
        ids = list(files.values_list("id", flat=True))
        if dry_run or not ids:
            self.stdout.write(f"{len(ids)} optimized files found. Nothing was changed.")
            return
        if not yes:
            confirm(f"bring back {len(ids)} optimized files of {where or 'all organizations'} as they were uploaded")
        outcomes: Counter[Undone] = Counter()
        for file_id in ids:
            outcomes[operations.undo_optimize(file_id, actor=COMMAND)] += 1
        for outcome in Undone:
            if outcomes[outcome]:
                self.stdout.write(f"{outcomes[outcome]} files {outcome}")
        if left := len(ids) - outcomes[Undone.DONE]:
            raise CommandError(f"{left} files were not brought back.")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return period(text).start
    except ValueError as error:
        raise CommandError(f"--since={text!r} is not a date or time in ISO 8601.") from error
