"""What commands say, and refuse, while database and storage do not belong together."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rokka.core.errors import DomainError
from sourceimages import ownership

READ_ONLY = ("dry_run", "list")  # options with which a command changes nothing


class ImageCommand(BaseCommand):
    """A command about images or their files: it names a mismatch on standard error, and refuses if it would write."""

    writes = True

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            ownership.check_writable()
        except DomainError as error:
            if self.writes and not any(options.get(name) for name in READ_ONLY):
                raise CommandError(error.message) from error
            self.stderr.write(error.message)
        return super().execute(*args, **options)
