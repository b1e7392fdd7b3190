"""Removing for ever the pictures of expired tombstones."""

from collections.abc import Callable

import structlog
from django.db import DatabaseError, transaction

from organizations import counters
from organizations.audit import TIME, Actor, record
from organizations.models import Organization
from rokka import faults
from sourceimages import storage
from sourceimages.models import SourceImage, StoredFile, Tombstone
from sourceimages.races import lost_race

BATCH = 500

log = structlog.get_logger()


def purge_expired(*, actor: Actor = TIME, watch: Callable[[int], None] = lambda count: None) -> int:
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
            files = held_files({file_id for _, file_id in found})
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
            keys = remove_unreferenced(tombstone.organization, files)
            faults.point("purge.deleted")
    except DatabaseError as error:  # an upload has come to refer to one of the files: look again
        if not lost_race(error):
            raise
        log.info("purge.lost_race", tombstone=str(tombstone.pk))
        return _purge_batch(tombstone, actor)
    faults.point("purge.committed")
    storage.originals().remove(keys)
    return len(ids)


def held_files(ids: set[int]) -> list[StoredFile]:
    return list(StoredFile.objects.filter(pk__in=ids).order_by("id").select_for_update())


def remove_unreferenced(organization: Organization, files: list[StoredFile]) -> list[str]:
    """Delete those of the files, which are held, that no picture refers to; answer their keys."""
    needed = set(SourceImage.objects.filter(file__in=files).values_list("file_id", flat=True))
    gone = [file for file in files if file.pk not in needed]
    StoredFile.objects.filter(pk__in=[file.pk for file in gone]).delete()
    counters.add(organization, bytes=-sum(file.size for file in gone))
    return [file.key for file in gone]
