"""Originals by their row, for all who read them. What is missing at its place is put back from the storage's trash.

So a file that was moved by mistake, by a clock or by a race heals at the first look. Nothing is asked of the storage
beyond what is read as long as the file is there.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
from django.db import transaction

from organizations.audit import SYSTEM, Actor
from organizations.models import AuditEvent
from sourceimages import storage, task_state
from sourceimages.errors import OriginalMissing
from sourceimages.models import StoredFile
from sourceimages.ownership import check_removable

MOVE_BATCH = 500  # files that are moved before the owner marks are compared again
TASK = "storage_trash"

log = structlog.get_logger()


# --- Reading ----------------------------------------------------------------------------------------------------------


def open_file(file: StoredFile, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The file from `start`, in blocks. BytesMissing before the first block if it is nowhere."""
    originals = storage.originals()
    try:
        return originals.open(file.key, start, length)
    except OriginalMissing:
        recover_missing([file.key])
        return originals.open(file.key, start, length)


@contextmanager
def local_file(file: StoredFile) -> Iterator[Path]:
    """The file on this machine, to read only, and no longer than the context lasts. BytesMissing."""
    originals = storage.originals()
    with ExitStack() as stack:
        try:
            path = stack.enter_context(originals.local_path(file.key))
        except OriginalMissing:
            recover_missing([file.key])
            path = stack.enter_context(originals.local_path(file.key))
        yield path


def file_size(file: StoredFile) -> int:
    """How many bytes are there. BytesMissing if it is nowhere."""
    originals = storage.originals()
    try:
        return originals.size(file.key)
    except OriginalMissing:
        recover_missing([file.key])
        return originals.size(file.key)


def file_sizes(files: Collection[StoredFile]) -> dict[str, int]:
    """The same of several by their key; those that are nowhere are not in the answer."""
    originals = storage.originals()
    keys = {file.key for file in files}
    sizes = originals.sizes(keys)
    if missing := keys - sizes.keys():
        sizes |= originals.sizes(recover_missing(missing))
    return sizes


# --- Recovering -------------------------------------------------------------------------------------------------------


def recover_missing(keys: Collection[str], *, actor: Actor = SYSTEM) -> set[str]:
    """Put back those of the files that a row names and that lie in the trash; answer them.

    One whose row names another file by now, because it was optimized, stays in the trash.
    """
    return recover(sorted(referenced_keys(keys)), actor=actor)


def recover(keys: Collection[str], *, actor: Actor) -> set[str]:
    """Put back the files that lie in the trash and have nothing at their place; answer them. Audited."""
    originals, found = storage.originals(), []
    try:
        for key in keys:
            if storage.parse_key(key) and originals.recover(key):
                found.append(key)
    finally:  # a storage that fails in the middle does not take back what was recovered before
        if found:
            log.warning("file.recovered", count=len(found), keys=found[:10])
            _record_recovered(found, actor)
    return set(found)


@transaction.atomic
def _record_recovered(keys: Sequence[str], actor: Actor) -> None:
    parts = [(key, part) for key in keys if (part := storage.parse_key(key))]
    AuditEvent.objects.bulk_create(
        AuditEvent(
            action="file.recovered",
            source=actor.source,
            organization_id=part.organization_id,
            user=actor.user,
            api_key_id=actor.api_key_id,
            address=actor.address,
            request_id=actor.request_id,
            target=part.binary_hash,
            details={"key": key},
        )
        for key, part in parts
    )
    task_state.add_progress(TASK, recovered=len(keys))


# --- Moving to the trash ----------------------------------------------------------------------------------------------


def move_to_trash(keys: Sequence[str]) -> set[str]:
    """Move files that no row names any more to the storage's trash, after the commit that removed the rows.

    Answers those that were there. Raises StorageMismatch where database and storage do not belong together.
    """
    moved: set[str] = set()
    for start in range(0, len(keys), MOVE_BATCH):
        check_removable()
        batch = keys[start : start + MOVE_BATCH]
        unneeded = set(batch) - referenced_keys(batch)
        gone = storage.originals().move_to_trash(sorted(unneeded))
        moved |= gone - recover_missing(gone)  # a row that came while they were moved
    return moved


def referenced_keys(keys: Collection[str]) -> set[str]:
    """Those of the keys that a row names."""
    return set(StoredFile.objects.filter(key__in=keys).values_list("key", flat=True)) if keys else set()
