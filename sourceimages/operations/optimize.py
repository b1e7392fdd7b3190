"""Optimization of uploaded files on request: TIFF and PSD are transcoded to PNG, JPEG or WebP.

The requested format is in the file's row until the file is optimized or skipped. A worker takes a lease on the row,
which expires if the worker is killed. The original is moved to the storage trash after the row refers to the new file,
and the row has its key, so that undo_optimize can restore it.
"""

from datetime import datetime, timedelta
from hashlib import file_digest
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from organizations.audit import SYSTEM, Actor, record
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.errors import InvalidInput
from sourceimages import ownership, probing, storage
from sourceimages.errors import ReadingInterrupted
from sourceimages.models import StoredFile
from sourceimages.operations.contents import Content, replace_content
from sourceimages.operations.staging import StagedFiles
from sourceimages.probing.transcoding import SECONDS, TranscodeResult, transcode
from sourceimages.stored_files import local_file, move_to_trash

LEASE = timedelta(seconds=SECONDS + 120)  # after which a worker counts as killed
RETRY_AFTER = timedelta(days=1)  # if the probe worker was killed
BATCH = 100  # IDs returned by pending()

log = structlog.get_logger()


def pending(after: int = 0) -> list[int]:
    """IDs, greater than `after`, of files to optimize that no worker has a lease on. Those of locked images wait."""
    files = StoredFile.objects.exclude(optimize_to="").filter(_not_leased(), pk__gt=after).exclude(images__locked=True)
    return list(files.order_by("id").values_list("id", flat=True)[:BATCH])


def optimize(file_id: int, *, actor: Actor = SYSTEM) -> bool:
    """Optimize the file, or record why it is skipped; False if there is nothing to do now.

    Raises ReadingInterrupted if the probe worker is killed; the file is tried again after RETRY_AFTER.
    """
    ownership.check_removable()
    if (
        not StoredFile.objects.exclude(optimize_to="")
        .filter(_not_leased(), pk=file_id)
        .update(optimize_started_at=timezone.now())
    ):
        return False
    file = StoredFile.objects.select_related("organization").get(pk=file_id)
    try:
        return _optimize(file, actor)
    except ReadingInterrupted:  # an immediate retry would probably be killed again
        _release(file, retry_at=timezone.now() + RETRY_AFTER)
        raise
    except BaseException:
        _release(file)
        raise


def _release(file: StoredFile, *, retry_at: datetime | None = None) -> None:
    """Release the lease, unless another worker has taken it; with `retry_at`, let it expire then."""
    leased = StoredFile.objects.filter(pk=file.pk, optimize_started_at=file.optimize_started_at)
    leased.update(optimize_started_at=retry_at and retry_at - LEASE)


def _not_leased() -> Q:
    return Q(optimize_started_at=None) | Q(optimize_started_at__lt=timezone.now() - LEASE)


def _optimize(file: StoredFile, actor: Actor) -> bool:
    originals = storage.originals()
    with (
        local_file(file) as path,
        transcode(path, file.format, file.optimize_to, folder=originals.temp_dir) as result,
        StagedFiles(file.organization) as staged,
    ):
        failpoints.failpoint("optimize.transcoded")
        if reason := result.skipped_reason or _verify(file, result):
            return _skip(file, reason, actor)
        ownership.check_removable()
        new = _content_of(result, storage.new_key(file.organization_id, file.binary_hash))
        staged.written.add(new.key)
        originals.put(result.path, new.key)
        failpoints.failpoint("optimize.placed")
        if not _switch(file, new, actor):
            return False
        staged.committed.add(new.key)
    failpoints.failpoint("optimize.committed")
    move_to_trash([file.key])
    return True


def _verify(file: StoredFile, result: TranscodeResult) -> str:
    """Probe the new file like an upload; return what is wrong with it, or ""."""
    try:
        probe = probing.probe(result.path)
    except InvalidInput as error:  # other errors, such as a timeout, don't mean that the file is bad
        return error.message
    if (probe.format, probe.width, probe.height) != (result.format, file.width, file.height):
        return f"unexpected result: {probe.format}, {probe.width} × {probe.height}"
    return ""


def _content_of(result: TranscodeResult, key: str) -> Content:
    probe = probing.probe(result.path)
    with result.path.open("rb") as content:
        content_hash = file_digest(content, "sha256").hexdigest()
    return Content(key, result.path.stat().st_size, content_hash, probe.format, probe.mimetype)


@transaction.atomic
def _switch(file: StoredFile, new: Content, actor: Actor) -> bool:
    """Point the row and its images to the new file; False if the row has changed or one of the images is locked."""
    row = _get_for_update(file)
    images = list(row.images.order_by("id").select_for_update()) if row else []
    if row is None or any(image.locked for image in images):
        StoredFile.objects.filter(pk=file.pk).update(optimize_started_at=None)
        return False
    before = Content.of(row)
    row.optimized_from = before.as_json() | {"at": timezone.now().isoformat(timespec="seconds")}
    _save_result(row, {"from": before.format, "to": new.format, "from_size": before.size, "size": new.size})
    size_change = replace_content(row, new)
    record(
        actor,
        "file.optimized",
        organization=row.organization,
        target=row.binary_hash,
        before={"format": before.format, "size": before.size},
        after={"format": new.format, "size": new.size},
    )
    failpoints.failpoint("optimize.switched")
    counters.add(row.organization, bytes=size_change)
    return True


@transaction.atomic
def _skip(file: StoredFile, reason: str, actor: Actor) -> bool:
    """Record that the file can't be optimized; False if the row has changed."""
    row = _get_for_update(file)
    if row is None:
        return False
    _save_result(row, {"requested": row.optimize_to, "skipped_reason": reason})
    row.save()
    record(actor, "file.optimization_skipped", organization=row.organization, target=row.binary_hash, reason=reason)
    log.info("optimize.skipped", file=row.pk, reason=reason)
    return True


def _get_for_update(file: StoredFile) -> StoredFile | None:
    """The row, locked; None if its file or the requested format has changed."""
    rows = StoredFile.objects.select_related("organization").select_for_update(of=("self",))
    return rows.filter(pk=file.pk, key=file.key, optimize_to=file.optimize_to).first()


def _save_result(row: StoredFile, result: dict[str, Any]) -> None:
    row.static_metadata = row.static_metadata | {"optimize": result}
    row.optimize_to, row.optimize_started_at = "", None
