"""Removing for ever the pictures of expired tombstones. Their files go to the storage's trash."""

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
MIN_LIMIT = 100  # images that are removed at once without waiting, however few there are
SHARE = 10  # one of so many images may be removed at once without waiting


def purge_expired(
    *, actor: Actor = SYSTEM, watch: Callable[[int], None] = lambda count: None, confirmed: bool = False
) -> int:
    """Remove the pictures of expired tombstones for ever, and move files that nothing refers to to the storage's trash.

    Answers how many pictures. After a leap of the clock, and with more than a tenth of all pictures to remove, it waits
    for a day, unless an operator has `confirmed` it; what a person let expire before its time does not wait. `watch`
    is told the number of each batch. Raises StorageMismatch.
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
    """Whether there is so much to remove, or so much time has passed since the last run, that it waits for a day."""
    doubtful = SourceImage.objects.filter(tombstone__in=due.filter(purge_confirmed=False))
    found = doubtful.aggregate(count=Count("id"), size=Sum("size"))
    limit = MIN_LIMIT
    if found["count"] > MIN_LIMIT:
        limit = max(MIN_LIMIT, SourceImage.objects.count() // SHARE)
    return doubts.must_wait(TASK, count=found["count"], limit=limit, size=found["size"] or 0, command=COMMAND)


def to_purge() -> TombstoneQuerySet:
    """Expired deletions, without those that a job is restoring."""
    expired = Tombstone.objects.filter(expires_at__lte=database_now())
    return expired.exclude(pk__in=expired.being_restored())


@retry_on_conflict(references=[TOMBSTONE_REFERENCE])
def _remove_empty(tombstone: Tombstone) -> None:
    Tombstone.objects.filter(pk=tombstone.pk, images=None).delete()


def _purge_batch(tombstone: Tombstone, actor: Actor) -> int:
    """Rows before files; 0 if there is nothing left."""
    check_removable()  # before the rows are gone, not only before the files are
    count, keys = _purge_rows(tombstone, actor)
    failpoints.failpoint("purge.committed")
    stored_files.move_to_trash(keys)
    return count


@retry_on_conflict(references=[FILE_REFERENCE])  # an upload has come to refer to one of the files
@transaction.atomic
def _purge_rows(tombstone: Tombstone, actor: Actor) -> tuple[int, list[str]]:
    """How many images of the deletion were removed, and the keys of the files that nothing refers to any more."""
    # Restoring extends the time: it waits for this lock, or we for its one.
    if not Tombstone.objects.expired().select_for_update(no_key=True).filter(pk=tombstone.pk):
        return 0, []
    found = list(tombstone.images.order_by("id").values_list("id", "file_id")[:BATCH])
    kept = files_for_update({file_id for _, file_id in found})
    # Somebody may have brought some back before the tombstone expired, and we waited for them.
    held = SourceImage.objects.filter(pk__in=[pk for pk, _ in found], tombstone=tombstone)
    ids = list(held.order_by("id").select_for_update().values_list("id", flat=True))
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
    keys = remove_unreferenced(tombstone.organization, kept)
    failpoints.failpoint("purge.deleted")
    return len(ids), keys


def files_for_update(ids: set[int]) -> list[StoredFile]:
    return list(StoredFile.objects.filter(pk__in=ids).order_by("id").select_for_update())


def remove_unreferenced(organization: Organization, files: list[StoredFile]) -> list[str]:
    """Delete those of the files, which are held, that no picture refers to; answer their keys."""
    needed = set(SourceImage.objects.filter(file__in=files).values_list("file_id", flat=True))
    gone = [file for file in files if file.pk not in needed]
    StoredFile.objects.filter(pk__in=[file.pk for file in gone]).delete()
    counters.add(organization, bytes=-sum(file.size for file in gone))
    return [file.key for file in gone]
