"""Rewriting what was uploaded with a wish for it: TIFF and PSD become PNG, JPEG or WebP.

The wish stands in the file's row until it is fulfilled or found to be impossible; whoever works at it says so there,
and is forgotten if nothing comes of it. The old file goes to the storage's trash when the row names the new one, never
before, and the row remembers it: undo_optimize brings it back from there.
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

LEASE = timedelta(seconds=SECONDS + 120)  # after which somebody who works at a file is taken for dead
RETRY_AFTER = timedelta(days=1)  # after which a file is tried again whose process was killed
BATCH = 100  # files that are looked up

log = structlog.get_logger()


def pending(after: int = 0) -> list[int]:
    """Files with a wish that nobody works at, behind an id. A locked picture stays as it is until it is unlocked."""
    wishes = StoredFile.objects.exclude(optimize_to="").filter(_not_leased(), pk__gt=after).exclude(images__locked=True)
    return list(wishes.order_by("id").values_list("id", flat=True)[:BATCH])


def optimize(file_id: int, *, actor: Actor = SYSTEM) -> bool:
    """Fulfil the wish of the file, or write down why not; False if there is nothing to do now.

    ReadingInterrupted if the process that rewrites is killed: the file has its turn again a day later.
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
    except ReadingInterrupted:  # at once it would probably be killed again, and others by it
        _release(file, taken_until=timezone.now() + RETRY_AFTER)
        raise
    except BaseException:
        _release(file)
        raise


def _release(file: StoredFile, *, taken_until: datetime | None = None) -> None:
    mine = StoredFile.objects.filter(pk=file.pk, optimize_started_at=file.optimize_started_at)
    mine.update(optimize_started_at=taken_until and taken_until - LEASE)


def _not_leased() -> Q:
    return Q(optimize_started_at=None) | Q(optimize_started_at__lt=timezone.now() - LEASE)


def _optimize(file: StoredFile, actor: Actor) -> bool:
    originals = storage.originals()
    with (
        local_file(file) as path,
        transcode(path, file.format, file.optimize_to, folder=originals.temp_dir) as picture,
        StagedFiles(file.organization) as keeper,
    ):
        failpoints.failpoint("optimize.rewritten")
        if why := picture.skipped_reason or _verify(file, picture):
            return _skip(file, why, actor)
        ownership.check_removable()
        new = _content_of(picture, storage.new_key(file.organization_id, file.binary_hash))
        keeper.placed.add(new.key)
        originals.put(picture.path, new.key)
        failpoints.failpoint("optimize.placed")
        if not _switch(file, new, actor):
            return False
        keeper.needed.add(new.key)
    failpoints.failpoint("optimize.committed")
    move_to_trash([file.key])
    return True


def _verify(file: StoredFile, picture: TranscodeResult) -> str:
    """What a look at the new bytes, by those who look at every upload, finds wrong with them."""
    try:
        found = probing.probe(picture.path)
    except InvalidInput as error:  # what keeps us from looking says nothing about them
        return error.message
    if (found.format, found.width, found.height) != (picture.format, file.width, file.height):
        return f"what was written is a {found.format} of {found.width} × {found.height}"
    return ""


def _content_of(picture: TranscodeResult, key: str) -> Content:
    probe = probing.probe(picture.path)
    with picture.path.open("rb") as content:
        content_hash = file_digest(content, "sha256").hexdigest()
    return Content(key, picture.path.stat().st_size, content_hash, probe.format, probe.mimetype)


@transaction.atomic
def _switch(file: StoredFile, new: Content, actor: Actor) -> bool:
    """The row and the images that show it name the new file, unless somebody was faster or locked one of them."""
    row = _get_for_update(file)
    images = list(row.images.order_by("id").select_for_update()) if row else []
    if row is None or any(image.locked for image in images):
        StoredFile.objects.filter(pk=file.pk).update(optimize_started_at=None)
        return False
    before = Content.of(row)
    row.optimized_from = before.as_json() | {"at": timezone.now().isoformat(timespec="seconds")}
    _save_result(row, {"from": before.format, "to": new.format, "from_size": before.size, "size": new.size})
    more = replace_content(row, new)
    record(
        actor,
        "file.optimized",
        organization=row.organization,
        target=row.binary_hash,
        before={"format": before.format, "size": before.size},
        after={"format": new.format, "size": new.size},
    )
    failpoints.failpoint("optimize.switched")
    counters.add(row.organization, bytes=more)
    return True


@transaction.atomic
def _skip(file: StoredFile, why: str, actor: Actor) -> bool:
    row = _get_for_update(file)
    if row is None:
        return False
    _save_result(row, {"wish": row.optimize_to, "left": why})
    row.save()
    record(actor, "file.optimization_skipped", organization=row.organization, target=row.binary_hash, reason=why)
    log.info("optimize.skipped", file=row.pk, reason=why)
    return True


def _get_for_update(file: StoredFile) -> StoredFile | None:
    """The row, if it still is what we have worked at."""
    rows = StoredFile.objects.select_related("organization").select_for_update(of=("self",))
    return rows.filter(pk=file.pk, key=file.key, optimize_to=file.optimize_to).first()


def _save_result(row: StoredFile, what: dict[str, Any]) -> None:
    row.static_metadata = row.static_metadata | {"optimize": what}
    row.optimize_to, row.optimize_started_at = "", None
