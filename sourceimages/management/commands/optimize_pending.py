from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand, organization
from rokka.core.errors import DomainError
from rokka.core.locks import exclusive
from sourceimages import operations
from sourceimages.management.arguments import parse_time
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import add_yes_option, confirm, count_label
from sourceimages.operations import Undone


class Command(ImageCommand, ChangeCommand):
    help = (
        "Optimize files that were uploaded with optimize_source and are still pending, in this process. "
        "With --undo: restore the original files of optimized ones while they are in the storage trash."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--undo", action="store_true", help="restore the original files")
        parser.add_argument("organization", nargs="?", help="with --undo: only files of this organization")
        parser.add_argument("hash", nargs="*", help="with --undo: only these hashes, short hashes or binary hashes")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="with --undo: only files optimized at or after this time (ISO 8601, UTC)",
        )
        add_yes_option(parser, condition="with --undo: ")

    def run(self, **options: Any) -> None:
        if options["undo"]:
            self._undo(**options)
        elif options["organization"] or options["since"] or options["yes"]:
            raise CommandError("An organization, hashes, --since and --yes require --undo.")
        else:
            self._optimize(dry_run=options["dry_run"])

    @exclusive("optimize_pending")
    def _optimize(self, *, dry_run: bool) -> None:
        files, optimized, failed, last = 0, 0, 0, 0
        while ids := operations.waiting_to_be_optimized(last):
            for last in ids:
                files += 1
                if dry_run:
                    continue
                try:
                    optimized += operations.optimize(last)
                except DomainError as error:
                    failed += 1
                    self.stderr.write(f"ERROR: file {last}: {error.message}")
        self.report |= {"files": files}
        if dry_run:
            self.stdout.write(f"[dry run] Would process {count_label(files, 'file')}.")
            return
        self.report |= {"processed": optimized, "failed": failed}
        self.stdout.write(f"{count_label(optimized, 'file')} processed")
        if failed:
            raise CommandError(f"{count_label(failed, 'file')} failed.")

    def _undo(self, *, dry_run: bool, yes: bool, **options: Any) -> None:
        owner = organization(options["organization"]) if options["organization"] else None
        since = parse_time(options, "since")
        files = operations.optimized_files(owner, options["hash"], since=since)
        ids = list(files.values_list("id", flat=True))
        self.report_not_found(
            name for name in options["hash"] if not operations.optimized_files(owner, [name], since=since).exists()
        )
        self.report |= {"files": len(ids)}
        action = f"restore the originals of {count_label(len(ids), 'optimized file')} of {owner or 'all organizations'}"
        if dry_run:
            self.stdout.write(f"[dry run] Would {action}.")
            return
        if not ids:
            self.stdout.write(f"Nothing to do: would {action}.")
            return
        if not yes:
            confirm(action)
        outcomes: Counter[Undone] = Counter()
        for file_id in ids:
            outcomes[operations.undo_optimize(file_id, actor=COMMAND)] += 1
        self.report["counts"] = {outcome.name.lower(): outcomes[outcome] for outcome in Undone}
        for outcome in Undone:
            if outcomes[outcome]:
                self.stdout.write(f"{count_label(outcomes[outcome], 'file')} {outcome}")
        if skipped := len(ids) - outcomes[Undone.DONE]:
            raise CommandError(f"{count_label(skipped, 'file')} not restored.")
