"""Content that is known and came in once more: its stored file is mended where it is lost or rotten.

An answer of success says that the file is there now. So the storage is asked, and what just came in takes the place of
a file that is missing, has another size, or is known to be corrupt. A file that was optimized and is sent again without
the option to optimize becomes what was sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from organizations.audit import Actor, record
from rokka.database import Overtaken
from sourceimages import indexing, probing
from sourceimages.errors import BytesMissing
from sourceimages.files import file_size
from sourceimages.models import StoredFile
from sourceimages.operations.describe import when_to_read_again
from sourceimages.probing import Probe


class Why(StrEnum):
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
    why: Why
    key: str
    probe: Probe | None
    optimize_to: str


def why_replace(file: StoredFile, *, as_sent: bool) -> Why | None:
    """Why what came in has to take the place of the file; None if the stored one is fine.

    `as_sent`: the caller may have an optimized file replaced by what was sent.
    """
    size = stored_size(file)
    if size is None:
        return Why.MISSING
    if size != file.size or file.damage:
        return Why.CORRUPT
    if as_sent and not file.as_uploaded and not file.images.filter(locked=True).exists():
        return Why.AS_SENT
    return None


def stored_size(file: StoredFile) -> int | None:
    """How many bytes the storage has, in one question unless it is missing; None if none."""
    try:
        return file_size(file)
    except BytesMissing:
        return None


def forget_options(file_ids: Iterable[int]) -> None:
    """Files that wait to be optimized, and came in again without the option, stay as they are."""
    for file_id in sorted(file_ids):
        StoredFile.objects.filter(pk=file_id).update(optimize_to="", optimize_since=None)


def replace_files(replacements: Iterable[Replacement], actor: Actor) -> tuple[dict[str, StoredFile], list[str], int]:
    """Let the rows name what came in, in the transaction of the upload.

    Answers the rows by binary hash, the keys that no row names any more, and by how many bytes more is stored. Raises
    Overtaken.
    """
    wanted = {one.file.pk: one for one in replacements}
    rows = StoredFile.objects.select_related("organization").filter(pk__in=wanted).order_by("id")
    found = list(rows.select_for_update(of=("self",)))
    if {row.pk: row.key for row in found} != {pk: one.file.key for pk, one in wanted.items()}:
        raise Overtaken  # another file took its place, or it was purged, since we looked
    free: list[str] = []
    more = 0
    for row in found:
        size, key = row.size, row.key
        if _replace(row, wanted[row.pk], actor):
            free.append(key)
            more += row.size - size
    return {row.binary_hash: row for row in found}, free, more


def _replace(row: StoredFile, new: Replacement, actor: Actor) -> bool:
    """False if an image that shows an optimized file was locked meanwhile: that stays as it is."""
    images = list(row.images.order_by("id").select_for_update()) if new.probe else []
    if new.why is Why.AS_SENT and any(image.locked for image in images):
        return False
    before = _described(row)
    row.key, row.damage, row.verified_at = new.key, "", None
    if new.probe:
        _take_over(row, new.probe, new.optimize_to)
    row.save()
    if new.probe:
        row.images.update(size=row.size, format=row.format, mimetype=row.mimetype, width=row.width, height=row.height)
        indexing.replace(list(row.images.select_related("organization", "file")))
    verb = "file.restored_as_uploaded" if new.why is Why.AS_SENT else "file.healed"
    record(
        actor,
        verb,
        organization=row.organization,
        target=row.binary_hash,
        target_id=row.pk,
        reason=str(new.why),
        before=before,
        after=_described(row),
    )
    return True


def _take_over(row: StoredFile, probe: Probe, optimize_to: str) -> None:
    """The row says what was uploaded, no longer what was made of it."""
    row.size, row.content_hash = row.uploaded_size, row.uploaded_sha256
    row.format, row.mimetype, row.width, row.height = probe.format, probe.mimetype, probe.width, probe.height
    row.opaque, row.animated = probe.opaque, probe.animated
    colours = {name: group for name, group in row.static_metadata.items() if name == "color"}
    row.static_metadata = colours | probe.static_metadata
    row.colours_wanted = not colours and probe.format in probing.WITH_COLOURS
    row.read_again_at = when_to_read_again(probe)
    row.optimize_to, row.optimize_since, row.optimized_from = optimize_to, None, None


def _described(row: StoredFile) -> Mapping[str, Any]:
    return {"key": row.key, "format": row.format, "size": row.size}
