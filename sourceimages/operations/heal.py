"""Content that is known and came in once more: its stored file is mended where it is lost or rotten.

An answer of success says that the file is there now. So the storage is asked, and what was uploaded or copied takes the
place of a file that is missing, has another size, or is known to be corrupt. A file that was optimized and is sent
again without the option to optimize becomes what was sent.
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
    """Why the stored file is replaced by what came in."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    AS_SENT = "as sent"


@dataclass(frozen=True, slots=True)
class Replacement:
    """What came in again, at its place in the storage, for a row as it was when we looked.

    `probe` says what it is where that is not what is stored; `optimize_to` what it shall become then.
    """

    file: StoredFile
    reason: Reason
    key: str
    probe: Probe | None
    optimize_to: str


def replacement_reason(file: StoredFile, *, as_sent: bool) -> Reason | None:
    """Why what came in has to take the place of the file; None if the stored one is fine.

    `as_sent`: the caller may have an optimized file replaced by what was sent.
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
    """How many bytes the storage has, in one question unless it is missing; None if none."""
    try:
        return file_size(file)
    except OriginalMissing:
        return None


class DamagedFile(NamedTuple):
    """A stored file that has to be replaced, and why."""

    file: StoredFile
    reason: Reason


def damaged_files(files: Collection[StoredFile]) -> dict[str, DamagedFile]:
    """Those that are missing, have another size, or are known to be corrupt, by their binary hash."""
    sizes = file_sizes(files)
    found = {}
    for file in files:
        if file.key not in sizes:
            found[file.binary_hash] = DamagedFile(file, Reason.MISSING)
        elif sizes[file.key] != file.size or file.damage:
            found[file.binary_hash] = DamagedFile(file, Reason.CORRUPT)
    return found


def forget_options(file_ids: Iterable[int]) -> None:
    """Files that wait to be optimized, and came in again without the option, stay as they are."""
    for file_id in sorted(file_ids):
        StoredFile.objects.filter(pk=file_id).update(optimize_to="", optimize_started_at=None)


def replace_files(replacements: Iterable[Replacement], actor: Actor) -> tuple[dict[str, StoredFile], list[str], int]:
    """Let the rows name what came in, in the transaction of the upload.

    Answers the rows by binary hash, the keys that no row names any more, and by how many bytes more is stored. Raises
    Overtaken.
    """
    wanted = {one.file.pk: one for one in replacements}
    found = _files_for_update([one.file for one in wanted.values()])
    free: list[str] = []
    more = 0
    for row in found:
        size, key = row.size, row.key
        if _replace(row, wanted[row.pk], actor):
            free.append(key)
            more += row.size - size
    return {row.binary_hash: row for row in found}, free, more


def replace_by_copies(files: Mapping[str, DamagedFile], copies: Mapping[str, tuple[str, str]], actor: Actor) -> int:
    """Let rows name copies of the same content, in the transaction that needs them.

    `copies` has the key of what was copied and that of the copy; both arguments are by binary hash. Answers by how many
    bytes more is stored. Raises Overtaken.
    """
    sources = {file.key: file for file in StoredFile.objects.filter(key__in=[copies[hash][0] for hash in files])}
    more = 0
    for row in _files_for_update([one.file for one in files.values()]):
        key, to = copies[row.binary_hash]
        if key not in sources:
            raise StaleRead
        before = _described(row)
        _describe_as(row, sources[key])
        more += replace_content(row, replace(Content.of(sources[key]), key=to))
        indexing.replace(list(row.images.select_related("organization", "file").order_by("id")))
        _record("file.healed", row, files[row.binary_hash].reason, before, actor)
    return more


def _files_for_update(files: Iterable[StoredFile]) -> Sequence[StoredFile]:
    """The rows, locked. Raises Overtaken if another file took the place of one, or it was purged, since we looked."""
    keys = {file.pk: file.key for file in files}
    rows = StoredFile.objects.select_related("organization").filter(pk__in=keys).order_by("id")
    found = list(rows.select_for_update(of=("self",)))
    if {row.pk: row.key for row in found} != keys:
        raise StaleRead
    return found


def _describe_as(row: StoredFile, source: StoredFile) -> None:
    """What is found out about content holds for its copy, too, and so does what the copy was made of, if optimized."""
    row.static_metadata, row.colors_pending = source.static_metadata, source.colors_pending
    row.read_again_at, row.optimized_from = source.read_again_at, None
    if not source.as_uploaded:
        row.optimize_to, row.optimize_started_at = "", None


def _replace(row: StoredFile, new: Replacement, actor: Actor) -> bool:
    """False if an image that shows an optimized file was locked meanwhile: that stays as it is."""
    images = list(row.images.order_by("id").select_for_update()) if new.probe else []
    if new.reason is Reason.AS_SENT and any(image.locked for image in images):
        return False
    before = _described(row)
    row.key, row.damage, row.verified_at = new.key, "", None
    if new.probe:
        _take_over(row, new.probe, new.optimize_to)
    row.save()
    if new.probe:
        row.images.update(size=row.size, format=row.format, mimetype=row.mimetype, width=row.width, height=row.height)
        indexing.replace(list(row.images.select_related("organization", "file")))
    action = "file.restored_as_uploaded" if new.reason is Reason.AS_SENT else "file.healed"
    _record(action, row, new.reason, before, actor)
    return True


def _record(action: str, row: StoredFile, why: Reason, before: Mapping[str, Any], actor: Actor) -> None:
    record(
        actor,
        action,
        organization=row.organization,
        target=row.binary_hash,
        target_id=row.pk,
        reason=str(why),
        before=before,
        after=_described(row),
    )


def _take_over(row: StoredFile, probe: Probe, optimize_to: str) -> None:
    """The row says what was uploaded, no longer what was made of it."""
    row.size, row.content_hash = row.uploaded_size, row.uploaded_sha256
    row.content_since = timezone.now()
    row.format, row.mimetype, row.width, row.height = probe.format, probe.mimetype, probe.width, probe.height
    row.opaque, row.animated = probe.opaque, probe.animated
    colours = {name: group for name, group in row.static_metadata.items() if name == "color"}
    row.static_metadata = colours | probe.static_metadata
    row.colors_pending = not colours and probe.format in probing.FORMATS_WITH_COLORS
    row.read_again_at = next_attempt(probe)
    row.optimize_to, row.optimize_started_at, row.optimized_from = optimize_to, None, None


def _described(row: StoredFile) -> Mapping[str, Any]:
    return {"key": row.key, "format": row.format, "size": row.size}
