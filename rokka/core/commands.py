"""The base class of management commands."""

from django.core.management.base import BaseCommand


class OperatorCommand(BaseCommand):
    """A command without Django's system checks, which import all views. They check code: `manage.py check` does that.

    Invalid settings end every process when it imports them.
    """

    requires_system_checks: tuple[str, ...] = ()
