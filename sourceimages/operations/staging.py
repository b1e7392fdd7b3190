"""Bytes on their way to a row: in their place before the row, and in the storage's trash if no row comes."""

import time
from collections.abc import Sequence

import structlog
from django.db import DatabaseError

from organizations.models import Organization
from rokka.core.errors import DomainError, Unavailable
from sourceimages import grace_period, storage, stored_files

log = structlog.get_logger()


class StagedFiles:
    """Remembers which bytes were put where, and at the end moves to the trash what no row came to need."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.storage = storage.originals()
        self.placed: set[str] = set()  # keys that bytes were put under, or were about to be
        self.needed: set[str] = set()  # keys that a committed row refers to
        self.since = time.monotonic()

    def __enter__(self) -> "StagedFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, DomainError):
            return  # a lost connection does not say whether the commit happened; garbage collection will know
        unneeded = sorted(self.placed - self.needed)
        try:
            stored_files.move_to_trash(unneeded)
        except (DomainError, DatabaseError):  # garbage collection will find them
            log.warning("storage.cleanup_failed", keys=unneeded, exc_info=True)

    def check_deadline(self) -> None:
        """Give up before garbage collection could take bytes without a row for left behind."""
        if self.placed and grace_period.is_half_over(self.since):
            raise Unavailable("Storing took too long. Try again.")


def set_aside(keys: Sequence[str]) -> None:
    """Take files away that no row names any more, because others took their place.

    Nothing depends on it: what cannot be taken away now is garbage, and collected as such.
    """
    if not keys:
        return
    try:
        stored_files.move_to_trash(keys)
    except DomainError:
        log.warning("storage.cleanup_failed", keys=keys, exc_info=True)
