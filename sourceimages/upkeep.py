"""What time brings. Nothing here is asked for by anybody; it may run twice, at once, or be killed."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from organizations import counters
from organizations.audit import TIME, Actor, record
from organizations.models import Organization
from rokka import faults
from sourceimages import storage
from sourceimages.models import SourceImage, StoredFile, Tombstone
from sourceimages.races import lost_race

BATCH = 500

log = structlog.get_logger()


# --- What is past its time --------------------------------------------------------------------------------------------


def purge(*, actor: Actor = TIME, watch: Callable[[int], None] = lambda count: None) -> int:
    """Remove the pictures of expired tombstones for ever, and the bytes that nothing refers to; answer how many.

    `watch` is told the number of each batch.
    """
    removed = 0
    for tombstone in Tombstone.objects.expired().select_related("organization").order_by("expires_at", "id"):
        while batch := _purge_batch(tombstone, actor):
            removed += batch
            watch(batch)
        Tombstone.objects.filter(pk=tombstone.pk, images=None).delete()
    return removed


def _purge_batch(tombstone: Tombstone, actor: Actor) -> int:
    """Rows before bytes; 0 if there is nothing left."""
    try:
        with transaction.atomic():
            found = list(tombstone.images.order_by("id").values_list("id", "file_id")[:BATCH])
            files = _held_files({file_id for _, file_id in found})
            # Somebody may have brought some back before the tombstone expired, and we waited for them.
            held = SourceImage.objects.filter(pk__in=[pk for pk, _ in found], tombstone=tombstone)
            ids = list(held.order_by("id").select_for_update().values_list("id", flat=True))
            SourceImage.objects.filter(pk__in=ids).delete()
            if ids:
                record(
                    actor,
                    "tombstone.purged",
                    organization=tombstone.organization,
                    target=tombstone.reason,
                    target_id=tombstone.pk,
                    count=len(ids),
                    tombstone_id=tombstone.pk,
                )
            keys = _remove_unreferenced(tombstone.organization, files)
            faults.point("purge.deleted")
    except DatabaseError as error:  # an upload has come to refer to one of the files: look again
        if not lost_race(error):
            raise
        log.info("purge.lost_race", tombstone=str(tombstone.pk))
        return _purge_batch(tombstone, actor)
    faults.point("purge.committed")
    storage.originals().remove(keys)
    return len(ids)


def _held_files(ids: set[int]) -> list[StoredFile]:
    return list(StoredFile.objects.filter(pk__in=ids).order_by("id").select_for_update())


def _remove_unreferenced(organization: Organization, files: list[StoredFile]) -> list[str]:
    """Delete those of the files, which are held, that no picture refers to; answer their keys."""
    needed = set(SourceImage.objects.filter(file__in=files).values_list("file_id", flat=True))
    gone = [file for file in files if file.pk not in needed]
    StoredFile.objects.filter(pk__in=[file.pk for file in gone]).delete()
    counters.add(organization, bytes=-sum(file.size for file in gone))
    return [file.key for file in gone]


# --- What nothing refers to -------------------------------------------------------------------------------------------


def sweep() -> int:
    """Remove bytes that no row refers to and that no upload can be about to refer to; answer how many keys."""
    sweep_files()
    return sweep_spool() + sweep_strays()


def sweep_files() -> int:
    """Remove files that no picture shows any more, because the one that did was overwritten; answer how many."""
    long_ago = timezone.now() - timedelta(seconds=settings.GRACE_SECONDS)
    unneeded = StoredFile.objects.filter(images=None, created__lt=long_ago).select_related("organization")
    removed = 0
    for file in unneeded.order_by("id").iterator():
        try:
            with transaction.atomic():
                keys = _remove_unreferenced(file.organization, _held_files({file.pk}))
        except IntegrityError:
            continue  # it has come to be needed
        storage.originals().remove(keys)
        removed += len(keys)
    return removed


def sweep_strays() -> int:
    originals = storage.originals()
    removed, old = 0, []
    for held in originals.keys():
        if held.age > settings.GRACE_SECONDS:
            old.append(held.key)
        if len(old) == BATCH:
            removed, old = removed + _remove_strays(originals, old), []
    return removed + _remove_strays(originals, old)


def _remove_strays(originals: storage.Storage, keys: list[str]) -> int:
    # A key is written before its row and is never reused: old and without a row, it will never have one.
    known = set(StoredFile.objects.filter(key__in=keys).values_list("key", flat=True))
    strays = [key for key in keys if key not in known]
    if strays:
        originals.remove(strays)
        log.info("sweep.removed", keys=strays)
    return len(strays)


def sweep_spool() -> int:
    """Remove files of uploads that were never finished, because their process was killed."""
    folder = storage.originals().spool
    removed = 0
    for path in folder.glob("*.part"):
        try:
            if time.time() - path.stat().st_mtime > settings.GRACE_SECONDS:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # finished, or swept by another
    return removed
