"""What commands take and how they answer: rows by what people call them, refusals as CommandError."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from organizations.models import Organization, User
from rokka.core.errors import DomainError


class OperationCommand(BaseCommand, ABC):
    """A command that is the face of one operation: a refusal ends it with its message and status 1."""

    json = False  # whether --json makes it print one JSON object

    def add_arguments(self, parser: CommandParser) -> None:
        if self.json:
            parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(**options)
        except DomainError as error:
            raise CommandError(error.message) from error

    @abstractmethod
    def run(self, **options: Any) -> None:
        """Do it, and print what came of it."""

    def print_fields(self, facts: Mapping[str, Any], *, as_json: bool, remark: str = "") -> None:
        if as_json:
            self.stdout.write(json.dumps(facts))
            return
        for name, value in facts.items():
            self.stdout.write(f"{name + ':':17} {value}")
        if remark:
            self.stdout.write(remark)


SHOWN_ONCE = "The key is not kept and cannot be shown again."


def organization(name: str) -> Organization:
    found = Organization.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"There is no organization called {name!r}.")
    return found


def user(text: str) -> User:
    """By id, or by an e-mail address or username that only one user has."""
    try:
        users = list(User.objects.filter(pk=UUID(text)))
    except ValueError:
        users = list(User.objects.filter(email=text)[:2]) or list(User.objects.filter(username=text))
    if not users:
        raise CommandError("There is no such user. Name one by id, or by an e-mail address that only one user has.")
    if len(users) > 1:
        raise CommandError(f"Several users have the address {text!r}. Name one by its id.")
    return users[0]
