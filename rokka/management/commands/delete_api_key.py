from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand
from organizations.models import ApiKey
from organizations.operations import delete_key, effects_of
from rokka.backoffice.key_effects import Item, items_of, summary_of, undo_items
from sourceimages.management.arguments import parse_time
from sourceimages.management.job_command import EXIT_WITH_ERRORS
from sourceimages.management.terminal import add_yes_option, confirm


class Command(ChangeCommand):
    help = (
        "Delete an API key, and show what was made with it, its tokens, and keys made with them. --undo also deletes "
        "these keys, restores memberships and undoes jobs. Also for a key that was deleted before."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("key", help="ID of the key, as in the admin or the audit log")
        parser.add_argument("--undo", action="store_true", help="undo what was made with the key")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="only what was made since then: 2024, 2024-06, 2024-06-01 or an ISO 8601 time (UTC by default)",
        )
        add_yes_option(parser)

    def run(self, **options: Any) -> None:
        try:
            key_id = UUID(options["key"])
        except ValueError as error:
            raise CommandError("Invalid ID of an API key. Use the ID in the admin or the audit log.") from error
        since = parse_time(options, "since")
        key = ApiKey.objects.select_related("user").filter(pk=key_id).first()
        effects = effects_of(key_id, since=since)
        if key is None and not effects:
            raise CommandError(f"No API key has the ID {key_id}, and nothing was made with one.")
        self.stdout.write(f"API key {key} of {key.user}" if key else "The API key was deleted before.")
        items = items_of(effects, operator=True)
        self._list(items)
        for organization in effects.organizations:
            self.stdout.write(f"  Organization {organization.name}, created {organization.created:%Y-%m-%d %H:%M}")
        self.report["keys"] = 1 if key else 0
        if options["undo"]:
            self.report["undone"] = Counter(item.kind for item in items if not item.problem)
        if options["dry_run"]:
            return
        if not options["yes"]:
            undone = "undo what was made with it" if options["undo"] else "leave what was made with it"
            confirm(f"delete the API key and {undone}")
        if key is not None:  # first, so that nothing more is made with it
            delete_key(key.user, str(key_id), actor=COMMAND)
            self.stdout.write("API key deleted.")
        if options["undo"]:
            self._undo(items_of(effects_of(key_id, since=since), operator=True))

    def _list(self, items: list[Item]) -> None:
        for item in items:
            self.stdout.write(f"  {item.label}" + (f" ({item.problem})" if item.problem else ""))
        if not items:
            self.stdout.write("Nothing that can be undone was made with it.")

    def _undo(self, items: list[Item]) -> None:
        done, problems = undo_items((item for item in items if not item.problem), COMMAND)
        self.report["undone"] = done
        self.stdout.write(f"Undone: {summary_of(done) or 'nothing'}.")
        problems += [f"{item.label}: {item.problem}" for item in items if item.problem]
        for problem in problems:
            self.stderr.write(problem)
        if problems:
            raise SystemExit(EXIT_WITH_ERRORS)
