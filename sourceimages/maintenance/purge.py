"""Permanently delete images of expired deletions, and move their files to the storage trash."""

from collections.abc import Callable

from django.db import transaction
from django.db.models import Count, Sum

from organizations.audit import SYSTEM, Actor, record
from organizations.models import Organization
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.clock import database_now
from rokka.core.database import retry_on_conflict
from sourceimages import stored_files, task_state
from sourceimages.conflicts import FILE_REFERENCE, TOMBSTONE_REFERENCE
from sourceimages.maintenance import doubts
from sourceimages.models import ImageVersion, SourceImage, StoredFile, Tombstone, TombstoneQuerySet
from sourceimages.ownership import check_removable

TASK = "purge"
COMMAND = "manage.py purge_trash --confirm"
BATCH = 500
MIN_LIMIT = 100  # images that are deleted without waiting, however few there are
SHARE = 10  # one in SHARE images may be deleted without waiting


def purge_expired(
    *, actor: Actor = SYSTEM, watch: Callable[[int], None] = lambda count: None, confirmed: bool = False
) -> int:
    """Permanently delete the images of expired deletions and move orphaned files to the storage trash.

    Returns the number of images. After a clock jump, or for more than a tenth of all images, it waits for a day unless
    an operator has `confirmed` it; deletions that a user expired early don't wait. `watch` is called with the number of
    images of each batch. Raises StorageMismatch.
    """
    check_removable()
    due = to_purge()
    if must_wait(due) and not confirmed:
        due = due.filter(purge_confirmed=True)
    elif confirmed:
        task_state.release(TASK)
    removed = 0
    for tombstone in due.select_related("organization").order_by("expires_at", "id"):
        while batch := _purge_batch(tombstone, actor):
            removed += batch
            watch(batch)
        _remove_empty(tombstone)
    return removed


def must_wait(due: TombstoneQuerySet) -> bool:
    """Whether the purge waits for a day, because of too many images or a gap since the last run."""
    unconfirmed = SourceImage.objects.filter(tombstone__in=due.filter(purge_confirmed=False))
    totals = unconfirmed.aggregate(count=Count("id"), size=Sum("size"))
    limit = MIN_LIMIT
    if totals["count"] > MIN_LIMIT:
        limit = max(MIN_LIMIT, SourceImage.objects.count() // SHARE)
    return doubts.must_wait(TASK, count=totals["count"], limit=limit, size=totals["size"] or 0, command=COMMAND)


def to_purge() -> TombstoneQuerySet:
    """Expired deletions, except those that a job is restoring."""
    expired = Tombstone.objects.filter(expires_at__lte=database_now())
    return expired.exclude(pk__in=expired.being_restored())


@retry_on_conflict(references=[TOMBSTONE_REFERENCE])
def _remove_empty(tombstone: Tombstone) -> None:
    Tombstone.objects.filter(pk=tombstone.pk, images=None).delete()


def _purge_batch(tombstone: Tombstone, actor: Actor) -> int:
    """Delete rows, then move their files; return the number of images, 0 if none are left."""
    check_removable()  # move_to_trash checks again, but only after the rows are deleted
    count, keys = _purge_rows(tombstone, actor)
    failpoints.failpoint("purge.committed")
    stored_files.move_to_trash(keys)
    return count


@retry_on_conflict(references=[FILE_REFERENCE])  # an upload refers to one of the files now
@transaction.atomic
def _purge_rows(tombstone: Tombstone, actor: Actor) -> tuple[int, list[str]]:
    """Delete a batch of images; return how many, and the keys of files that no image refers to any more."""
    # Restoring extends the expiry under the same lock, so it can't interleave with this.
    if not Tombstone.objects.expired().select_for_update(no_key=True).filter(pk=tombstone.pk):
        return 0, []
    batch = list(tombstone.images.order_by("id").values_list("id", "file_id")[:BATCH])
    files = files_for_update({file_id for _, file_id in batch})
    # Images may have been restored before the deletion expired, while this transaction waited for a lock.
    images = SourceImage.objects.filter(pk__in=[pk for pk, _ in batch], tombstone=tombstone)
    ids = list(images.order_by("id").select_for_update().values_list("id", flat=True))
    SourceImage.objects.filter(pk__in=ids).delete()
    ImageVersion.objects.filter(image_id__in=ids).delete()
    if ids:
        record(
            actor,
            "deletion.purged",
            organization=tombstone.organization,
            target=tombstone.reason,
            target_id=tombstone.pk,
            count=len(ids),
            tombstone_id=tombstone.pk,
        )
    keys = remove_unreferenced(tombstone.organization, files)
    failpoints.failpoint("purge.deleted")
    return len(ids), keys


def files_for_update(ids: set[int]) -> list[StoredFile]:
    return list(StoredFile.objects.filter(pk__in=ids).order_by("id").select_for_update())


def remove_unreferenced(organization: Organization, files: list[StoredFile]) -> list[str]:
    """Delete the rows, all locked, that no image refers to; return their keys."""
    referenced = set(SourceImage.objects.filter(file__in=files).values_list("file_id", flat=True))
    unreferenced = [file for file in files if file.pk not in referenced]
    StoredFile.objects.filter(pk__in=[file.pk for file in unreferenced]).delete()
    counters.add(organization, bytes=-sum(file.size for file in unreferenced))
    return [file.key for file in unreferenced]
