"""Base class of commands that need database and storage to belong together."""

from typing import Any

from django.core.management.base import CommandError

from organizations.management.base import ReportCommand
from rokka.core.errors import DomainError
from sourceimages import ownership

READ_ONLY_OPTIONS = ("dry_run", "list")  # options with which a command changes nothing


class ImageCommand(ReportCommand):
    """A command about images or their files: it fails on a storage mismatch, or only warns if it changes nothing."""

    writes = True

    def _handle(self, **options: Any) -> None:
        try:
            ownership.check_writable()
        except DomainError as error:
            if self.writes and not any(options.get(name) for name in READ_ONLY_OPTIONS):
                raise CommandError(error.message) from error
            self.stderr.write(f"WARNING: {error.message}")
        super()._handle(**options)
