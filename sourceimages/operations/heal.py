"""Repair of stored files by an upload or a copy of the same content.

A successful upload means that the file is stored now. So the storage is checked, and the new file replaces one that is
missing, has a different size, or is known to be corrupt. An optimized file is replaced by its original if that is
uploaded again without the option to optimize.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from django.utils import timezone

from organizations.audit import Actor, record
from rokka.core.database import StaleRead
from sourceimages import probing
from sourceimages.errors import OriginalMissing
from sourceimages.models import StoredFile
from sourceimages.operations.contents import Content, replace_content
from sourceimages.operations.dominant_colors import next_attempt
from sourceimages.probing import Probe
from sourceimages.search import indexing
from sourceimages.stored_files import file_size, file_sizes


class Reason(StrEnum):
    """Why the stored file is replaced."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    AS_SENT = "as sent"


@dataclass(frozen=True, slots=True)
class Replacement:
    """A new file in the storage, and the row that it is for, as it was when it was read."""

    file: StoredFile
    reason: Reason
    key: str  # of the new file
    probe: Probe | None  # of the new file, if the stored one is an optimized version
    optimize_to: str  # requested format; used with `probe` only


def replacement_reason(file: StoredFile, *, as_sent: bool) -> Reason | None:
    """Why the stored file has to be replaced; None if it is intact.

    `as_sent`: also replace an optimized file by its original.
    """
    size = stored_size(file)
    if size is None:
        return Reason.MISSING
    if size != file.size or file.damage:
        return Reason.CORRUPT
    if as_sent and not file.as_uploaded and not file.images.filter(locked=True).exists():
        return Reason.AS_SENT
    return None


def stored_size(file: StoredFile) -> int | None:
    """The size in bytes according to the storage; None if the file is missing."""
    try:
        return file_size(file)
    except OriginalMissing:
        return None


class DamagedFile(NamedTuple):
    """A stored file that has to be replaced, and why."""

    file: StoredFile
    reason: Reason


def damaged_files(files: Collection[StoredFile]) -> dict[str, DamagedFile]:
    """The files that are missing, have a different size, or are known to be corrupt, by their binary hash."""
    sizes = file_sizes(files)
    damaged = {}
    for file in files:
        if file.key not in sizes:
            damaged[file.binary_hash] = DamagedFile(file, Reason.MISSING)
        elif sizes[file.key] != file.size or file.damage:
            damaged[file.binary_hash] = DamagedFile(file, Reason.CORRUPT)
    return damaged


def cancel_optimization(file_ids: Iterable[int]) -> None:
    """Cancel pending optimizations of files that were uploaded again without the option."""
    for file_id in sorted(file_ids):
        StoredFile.objects.filter(pk=file_id).update(optimize_to="", optimize_started_at=None)


def replace_files(replacements: Iterable[Replacement], actor: Actor) -> tuple[dict[str, StoredFile], list[str], int]:
    """Point the rows to the new files, in the transaction of the upload.

    Returns the rows by binary hash, the keys that are no longer used, and the change of the total size in bytes. Raises
    StaleRead.
    """
    by_id = {one.file.pk: one for one in replacements}
    rows = _files_for_update([one.file for one in by_id.values()])
    unused_keys: list[str] = []
    size_change = 0
    for row in rows:
        size, key = row.size, row.key
        if _replace(row, by_id[row.pk], actor):
            unused_keys.append(key)
            size_change += row.size - size
    return {row.binary_hash: row for row in rows}, unused_keys, size_change


def replace_by_copies(files: Mapping[str, DamagedFile], copies: Mapping[str, tuple[str, str]], actor: Actor) -> int:
    """Point the rows to copies of the same content, in the transaction of the copy.

    `copies` has the keys of the source file and of its copy; both arguments are by binary hash. Returns the change of
    the total size in bytes. Raises StaleRead.
    """
    sources = {file.key: file for file in StoredFile.objects.filter(key__in=[copies[hash][0] for hash in files])}
    size_change = 0
    for row in _files_for_update([one.file for one in files.values()]):
        source_key, copy_key = copies[row.binary_hash]
        if source_key not in sources:
            raise StaleRead
        before = _audit_details(row)
        _copy_metadata(row, sources[source_key])
        size_change += replace_content(row, replace(Content.of(sources[source_key]), key=copy_key))
        indexing.replace(list(row.images.select_related("organization", "file").order_by("id")))
        _record("file.healed", row, files[row.binary_hash].reason, before, actor)
    return size_change


def _files_for_update(files: Iterable[StoredFile]) -> Sequence[StoredFile]:
    """The rows, locked. Raises StaleRead if one was purged, or its file replaced, since they were read."""
    keys = {file.pk: file.key for file in files}
    rows = StoredFile.objects.select_related("organization").filter(pk__in=keys).order_by("id")
    locked = list(rows.select_for_update(of=("self",)))
    if {row.pk: row.key for row in locked} != keys:
        raise StaleRead
    return locked


def _copy_metadata(row: StoredFile, source: StoredFile) -> None:
    """Copy the metadata of the content; a copy of an optimized file is not optimized again."""
    row.static_metadata, row.colors_pending = source.static_metadata, source.colors_pending
    row.read_again_at, row.optimized_from = source.read_again_at, None
    if not source.as_uploaded:
        row.optimize_to, row.optimize_started_at = "", None


def _replace(row: StoredFile, new: Replacement, actor: Actor) -> bool:
    """Point the row to the new file; False if a locked image refers to an optimized file, which must not change."""
    images = list(row.images.order_by("id").select_for_update()) if new.probe else []
    if new.reason is Reason.AS_SENT and any(image.locked for image in images):
        return False
    before = _audit_details(row)
    row.key, row.damage, row.verified_at = new.key, "", None
    if new.probe:
        _reset_to_original(row, new.probe, new.optimize_to)
    row.save()
    if new.probe:
        row.images.update(size=row.size, format=row.format, mimetype=row.mimetype, width=row.width, height=row.height)
        indexing.replace(list(row.images.select_related("organization", "file")))
    action = "file.restored_as_uploaded" if new.reason is Reason.AS_SENT else "file.healed"
    _record(action, row, new.reason, before, actor)
    return True


def _record(action: str, row: StoredFile, reason: Reason, before: Mapping[str, Any], actor: Actor) -> None:
    record(
        actor,
        action,
        organization=row.organization,
        target=row.binary_hash,
        target_id=row.pk,
        reason=str(reason),
        before=before,
        after=_audit_details(row),
    )


def _reset_to_original(row: StoredFile, probe: Probe, optimize_to: str) -> None:
    """Let the row describe the uploaded file instead of its optimized version."""
    row.size, row.content_hash = row.uploaded_size, row.uploaded_sha256
    row.content_since = timezone.now()
    row.format, row.mimetype, row.width, row.height = probe.format, probe.mimetype, probe.width, probe.height
    row.opaque, row.animated = probe.opaque, probe.animated
    colors = {name: group for name, group in row.static_metadata.items() if name == "color"}
    row.static_metadata = colors | probe.static_metadata
    row.colors_pending = not colors and probe.format in probing.FORMATS_WITH_COLORS
    row.read_again_at = next_attempt(probe)
    row.optimize_to, row.optimize_started_at, row.optimized_from = optimize_to, None, None


def _audit_details(row: StoredFile) -> Mapping[str, Any]:
    return {"key": row.key, "format": row.format, "size": row.size}
