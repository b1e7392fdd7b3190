"""Access to stored files by their rows. A missing file is recovered from the storage trash when it is read.

So a file that was moved there by mistake, for example by a wrong clock, is back on first access. There are no extra
requests to the storage unless a file is missing.
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

MOVE_BATCH = 500  # files that are moved between two comparisons of the owner marks
TASK = "storage_trash"

log = structlog.get_logger()


# --- Reading ----------------------------------------------------------------------------------------------------------


def open_file(file: StoredFile, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The file from byte `start`, in blocks. Raises OriginalMissing before the first block."""
    originals = storage.originals()
    try:
        return originals.open(file.key, start, length)
    except OriginalMissing:
        recover_missing([file.key])
        return originals.open(file.key, start, length)


def internal_path(file: StoredFile, *, ranged: bool) -> str:
    """The path of the file for a reverse proxy, which sends it (`Storage.internal_path`). Raises OriginalMissing."""
    file_size(file)
    return storage.originals().internal_path(file.key, ranged=ranged)


@contextmanager
def local_file(file: StoredFile) -> Iterator[Path]:
    """A path of the file on this machine, read-only and valid within the context. Raises OriginalMissing."""
    originals = storage.originals()
    with ExitStack() as stack:
        try:
            path = stack.enter_context(originals.local_path(file.key))
        except OriginalMissing:
            recover_missing([file.key])
            path = stack.enter_context(originals.local_path(file.key))
        yield path


def file_size(file: StoredFile) -> int:
    """The size in bytes according to the storage. Raises OriginalMissing."""
    originals = storage.originals()
    try:
        return originals.size(file.key)
    except OriginalMissing:
        recover_missing([file.key])
        return originals.size(file.key)


def file_sizes(files: Collection[StoredFile]) -> dict[str, int]:
    """The sizes in bytes by key, without missing files."""
    originals = storage.originals()
    keys = {file.key for file in files}
    sizes = originals.sizes(keys)
    if missing := keys - sizes.keys():
        sizes |= originals.sizes(recover_missing(missing))
    return sizes


# --- Recovering -------------------------------------------------------------------------------------------------------


def recover_missing(keys: Collection[str], *, actor: Actor = SYSTEM) -> set[str]:
    """Recover files from the storage trash if a row refers to them; return the keys of those recovered.

    A file that was replaced, for example by an optimized one, stays in the trash.
    """
    return recover(sorted(referenced_keys(keys)), actor=actor)


def recover(keys: Collection[str], *, actor: Actor) -> set[str]:
    """Recover files from the storage trash unless the keys exist; return the keys of those recovered. Audited."""
    originals, recovered = storage.originals(), []
    try:
        for key in keys:
            if storage.parse_key(key) and originals.recover(key):
                recovered.append(key)
    finally:  # also record the files that were recovered before the storage failed
        if recovered:
            log.warning("file.recovered", count=len(recovered), keys=recovered[:10])
            _record_recovered(recovered, actor)
    return set(recovered)


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
    """Move files to the storage trash unless a row refers to them. Call it after the commit that removed the rows.

    Returns the keys of the files that were moved. Raises StorageMismatch.
    """
    moved: set[str] = set()
    for start in range(0, len(keys), MOVE_BATCH):
        check_removable()
        batch = keys[start : start + MOVE_BATCH]
        unreferenced = set(batch) - referenced_keys(batch)
        in_trash = storage.originals().move_to_trash(sorted(unreferenced))
        moved |= in_trash - recover_missing(in_trash)  # a row may have been created in the meantime
    return moved


def referenced_keys(keys: Collection[str]) -> set[str]:
    """The keys that a row refers to."""
    return set(StoredFile.objects.filter(key__in=keys).values_list("key", flat=True)) if keys else set()
