"""Base class of commands, and lookups of their arguments."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from organizations.models import Organization, User
from rokka.core.errors import DomainError


class OperationCommand(BaseCommand, ABC):
    """A command that calls one operation. A DomainError ends it with the error's message and exit status 1."""

    json = False  # whether the command has the option --json

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
        """Call the operation and print its result."""

    def print_fields(self, fields: Mapping[str, Any], *, as_json: bool, remark: str = "") -> None:
        """Print one field per line, then the remark; or all fields as JSON, without the remark."""
        if as_json:
            self.stdout.write(json.dumps(fields))
            return
        for name, value in fields.items():
            self.stdout.write(f"{name + ':':17} {value}")
        if remark:
            self.stdout.write(remark)


SHOWN_ONCE = "Copy the key now: it is not stored and cannot be shown again."


def organization(name: str) -> Organization:
    """The organization of this name. Raises CommandError."""
    found = Organization.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"Organization {name!r} not found.")
    return found


def user(text: str) -> User:
    """The user with this ID, or the only one with this email address or username. Raises CommandError."""
    try:
        users = list(User.objects.filter(pk=UUID(text)))
    except ValueError:
        users = list(User.objects.filter(email=text)[:2]) or list(User.objects.filter(username=text))
    if not users:
        raise CommandError(f"User {text!r} not found. Use a user ID, a username or an email address.")
    if len(users) > 1:
        raise CommandError(f"Several users have the email address {text!r}. Use a user ID.")
    return users[0]
