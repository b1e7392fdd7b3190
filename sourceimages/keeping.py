"""Bytes on their way to a row: in their place before the row, and taken back if no row comes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from django.conf import settings

from organizations.models import Organization
from rokka.errors import DomainError, Unavailable
from sourceimages import storage
from sourceimages.models import StoredFile

log = structlog.get_logger()


class FileKeeper:
    """Remembers which bytes were put where, and at the end takes back what no row came to need."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.storage = storage.originals()
        self.kept: dict[str, StoredFile] = {}  # by binary hash: unsaved rows for bytes that are in their place
        self.needed: set[str] = set()  # keys that a committed row refers to
        self.since = time.monotonic()

    def __enter__(self) -> "FileKeeper":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, DomainError):
            return  # a lost connection does not say whether the commit happened; the sweep will know
        unneeded = [file.key for file in self.kept.values() if file.key not in self.needed]
        try:
            self.storage.remove(unneeded)
        except DomainError:
            log.warning("bytes_left_behind", keys=unneeded, exc_info=True)

    def known(self, binary_hashes: set[str]) -> dict[str, StoredFile]:
        """The rows there are, by binary hash."""
        files = StoredFile.objects.filter(organization=self.organization, binary_hash__in=binary_hashes)
        return {file.binary_hash: file for file in files}

    def check_time(self) -> None:
        """Give up before the sweep could take bytes without a row for left behind."""
        if self.kept and time.monotonic() - self.since > settings.GRACE_SECONDS / 2:
            raise Unavailable("Storing took too long. Try again.")


@contextmanager
def unsaved_again(files: Sequence[StoredFile]) -> Iterator[None]:
    """Take back the ids that a transaction gave, if it fails: another attempt has to insert the rows anew."""
    new = [file for file in files if file.pk is None]
    try:
        yield
    except BaseException:
        for file in new:
            file.pk = None
        raise
