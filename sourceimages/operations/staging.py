"""Staged files: stored before their rows are committed, and moved to the storage trash if they are not."""

import time
from collections.abc import Sequence

import structlog

from organizations.models import Organization
from rokka.core.errors import DomainError, Unavailable
from sourceimages import grace_period, storage, stored_files

log = structlog.get_logger()


class StagedFiles:
    """A context that moves the files stored in it to the storage trash, except those of committed rows."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.storage = storage.originals()
        self.written: set[str] = set()  # keys of files that were written, or were about to be
        self.committed: set[str] = set()  # keys that a committed row refers to
        self.started = time.monotonic()

    def __enter__(self) -> "StagedFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, DomainError):
            return  # after a lost connection, the commit may have happened; garbage collection moves the files if not
        unused = sorted(self.written - self.committed)
        try:
            stored_files.move_to_trash(unused)
        except Exception:  # garbage collection will move them
            log.warning("storage.cleanup_failed", keys=unused, exc_info=True)

    def check_deadline(self) -> None:
        """Raise Unavailable before garbage collection could take the files for orphans."""
        if self.written and grace_period.is_half_over(self.started):
            raise Unavailable("Storing the files took too long. Try again.")


def discard_replaced(keys: Sequence[str]) -> None:
    """Move replaced files to the storage trash. If that fails, garbage collection moves them later."""
    if not keys:
        return
    try:
        stored_files.move_to_trash(keys)
    except Exception:  # what replaced them is committed
        log.warning("storage.cleanup_failed", keys=keys, exc_info=True)
