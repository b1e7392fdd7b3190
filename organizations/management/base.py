"""Base class and lookups of management commands. Errors become CommandError."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError, transaction

from organizations.models import Organization, User
from rokka.core.commands import OperatorCommand
from rokka.core.errors import DomainError
from rokka.core.http import is_unavailable

UNDEFINED_TABLE = "42P01"  # SQLSTATE of PostgreSQL: before the first `migrate`


class OperationCommand(OperatorCommand, ABC):
    """A command that runs one operation. Its errors, and an unavailable database, end it with a message."""

    json = False  # whether the command has --json

    def add_arguments(self, parser: CommandParser) -> None:
        if self.json:
            parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._handle(**options)
        except DomainError as error:
            raise CommandError(error.message) from error
        except DatabaseError as error:
            if not is_unavailable(error) and getattr(error.__cause__, "sqlstate", None) != UNDEFINED_TABLE:
                raise
            cause = str(error).partition("\n")[0].rstrip(".")
            raise CommandError(f"The database is unavailable: {cause}. Check it with manage.py doctor.") from error

    def _handle(self, **options: Any) -> None:
        self.run(**options)

    @abstractmethod
    def run(self, **options: Any) -> None:
        """Run the operation and print the result."""

    def print_fields(self, fields: Mapping[str, Any], *, as_json: bool, note: str = "") -> None:
        if as_json:
            self.stdout.write(json.dumps(fields))
            return
        for name, value in fields.items():
            self.stdout.write(f"{name + ':':17} {value}")
        if note:
            self.stdout.write(note)


class ReportCommand(OperationCommand):
    """A command that with --json prints `report`, which `run` fills, as one JSON object; with `error` if it failed."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object; everything else goes to standard error"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.report = self.new_report(options)
        if not options["json"]:
            super().handle(*args, **options)
            return
        output, self.stdout = self.stdout, OutputWrapper(sys.stderr)
        try:
            with redirect_stdout(sys.stderr):
                super().handle(*args, **options)
        except CommandError as error:
            self.report["error"] = str(error)
            raise
        finally:
            output.write(json.dumps(self.report, default=str))

    def new_report(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def report_not_found(self, names: Iterable[str]) -> None:
        """Name arguments for which nothing was found, on standard error and as `not_found` in the report."""
        if not_found := sorted(names):
            self.report["not_found"] = not_found
            self.stderr.write(f"Not found: {', '.join(not_found)}")


class ChangeCommand(ReportCommand):
    """A command that changes much. With --dry-run it only counts, and `report` has the same names as without."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="count only; change nothing")

    def new_report(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"dry_run": options["dry_run"]}

    def _handle(self, **options: Any) -> None:
        """Run the operation; a dry run is rolled back, in case that counting has an effect, such as a hold."""
        if not options["dry_run"]:
            super()._handle(**options)
            return
        with transaction.atomic():
            super()._handle(**options)
            transaction.set_rollback(True)


SHOWN_ONCE = "Store the key now: it can't be shown again."


def organization(name: str) -> Organization:
    """Return the organization of this name. Raises CommandError."""
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise CommandError(f"Organization {name!r} not found.")
    return organization


def user(text: str) -> User:
    """Return the user with this ID or, if it is unique, this email or username. Raises CommandError."""
    try:
        users = list(User.objects.filter(pk=UUID(text)))
    except ValueError:
        users = list(User.objects.filter(email=text)[:2]) or list(User.objects.filter(username=text))
    if not users:
        raise CommandError(f"User {text!r} not found. Use an ID, a username or an email that only one user has.")
    if len(users) > 1:
        raise CommandError(f"Several users have the email {text!r}. Use the ID of one of them.")
    return users[0]
