"""Base class and lookups of management commands. Errors become CommandError."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from organizations.models import Organization, User
from rokka.core.errors import DomainError


class OperationCommand(BaseCommand, ABC):
    """A command that runs one operation. A DomainError ends it with its message and exit status 1."""

    json = False  # whether the command has --json

    def add_arguments(self, parser: CommandParser) -> None:
        if self.json:
            parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(**options)
        except DomainError as error:
            raise CommandError(error.message) from error

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
