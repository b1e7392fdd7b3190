"""The job that restores a deletion, and the extended retention that keeps its images from being purged meanwhile."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Coalesce

from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core.database import translate_conflict
from rokka.core.errors import Conflict, InvalidInput
from sourceimages.errors import TombstoneNotFound
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing
from sourceimages.models import SourceImage, Tombstone, TombstoneQuerySet
from sourceimages.operations.restore import merge
from sourceimages.outcomes import MESSAGES, Outcome

BATCH = 2000  # rows
MIN_RETENTION_DAYS = 7
SKIP_MESSAGES = {  # why an image stays in the trash although it has values that the active image lacks
    Outcome.CONFLICTING: "An active image with this hash exists and keeps its own values.",
    Outcome.LOCKED: "The active image with this hash lacks values of the deleted one and is locked.",
}


def get_restorable(organization: Organization, tombstone_id: UUID | None = None) -> Tombstone:
    """Return this deletion, or the latest one that a user made. Raises TombstoneNotFound.

    The latest one excludes images that were replaced by one with another hash, for example when they were protected.
    """
    tombstones = organization.tombstones.restorable()
    if tombstone_id is not None:
        tombstones = tombstones.filter(pk=tombstone_id)
    else:
        tombstones = tombstones.exclude(reason=Tombstone.Reason.REPLACED)
    tombstone = tombstones.order_by("-deleted_at", "id").first()
    if tombstone is None:
        raise TombstoneNotFound("Deletion not found, or it has expired and can no longer be restored.")
    return tombstone


def extend_retention(tombstone: TombstoneQuerySet) -> None:
    """Extend the retention of one deletion. Raises TombstoneNotFound if it has expired."""
    if not extend_all_retention(tombstone):
        raise TombstoneNotFound("The deletion has expired and can no longer be restored.")


def extend_all_retention(tombstones: TombstoneQuerySet) -> int:
    """Give these deletions the retention of a new one, so that they can be restored. Return their number."""
    return tombstones.restorable().extend(timedelta(days=max(settings.TRASH_RETENTION_DAYS, MIN_RETENTION_DAYS)))


def description(tombstone: Tombstone) -> dict[str, Any]:
    """Describe the deletion in the params of the job: its reason, time and number of images."""
    deleted_at = tombstone.deleted_at.isoformat(timespec="seconds")
    return {"reason": tombstone.reason, "deleted_at": deleted_at, "images": tombstone.images.count()}


@transaction.atomic
def run_restore_batch(job_id: UUID) -> Job:
    """Restore the images of a batch. Those whose hash is active again are merged into the active image."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = Tombstone.objects.restorable().filter(pk=job.params["deletion_id"]).first()
    if tombstone is None:
        raise InvalidInput(f"The deletion has expired. {job.counts.get('restored', 0)} images were restored.")
    ids = next_ids(job, BATCH)
    if not ids:
        return _finish(job)
    with processing(job, ids):
        merged: dict[int, Outcome] = {}
        try:
            count = restore_at_once(tombstone, ids)
        except Conflict:
            count, merged = _restore_or_merge(job, tombstone, ids)
        skipped = {pk: SKIP_MESSAGES[outcome] for pk, outcome in merged.items() if outcome in SKIP_MESSAGES}
        removed = _removed(ids) if count + len(merged) < len(ids) else []
        skipped |= dict.fromkeys(removed, MESSAGES[Outcome.NOT_FOUND])
        counts = Counter({Outcome.RESTORED: count, Outcome.NOT_FOUND: len(removed)}) + Counter(merged.values())
        advance(job, ids[-1], counts, processed=len(ids), skipped=skipped)
        counters.add(job.organization, images=count)
    return job


def restore_at_once(tombstone: Tombstone, ids: Sequence[int]) -> int:
    """Restore all that are in the trash, and return their number. Raises Conflict if a hash is active again."""
    # As an expression, so that no index of deletions is used: statistics don't know soon enough how many images a
    # deletion has, and PostgreSQL would read all of them for each batch.
    deletion = Coalesce("tombstone_id", models.Value(UUID(int=0), models.UUIDField()))
    images = SourceImage.objects.filter(pk__one_of=ids).alias(deletion=deletion)
    with translate_conflict(Conflict("An active image has the same hash."), "image_active_hash_unique"):
        return images.filter(deletion=tombstone.pk).update(tombstone=None)


def _restore_or_merge(job: Job, tombstone: Tombstone, ids: Sequence[int]) -> tuple[int, dict[int, Outcome]]:
    """Return how many images were restored, and the outcomes of those that were merged, by id."""
    active, deleted = _get_for_update(job.organization, tombstone, ids)
    restored = {hash: pk for pk, hash in deleted.items() if hash not in active}
    count = SourceImage.objects.filter(pk__one_of=restored.values()).update(tombstone=None)
    duplicates = {pk: active.get(hash) or restored[hash] for pk, hash in deleted.items() if restored.get(hash) != pk}
    return count, _merge(job, duplicates)


def _removed(ids: Sequence[int]) -> list[int]:
    """Return those that no longer exist."""
    return sorted(set(ids).difference(SourceImage.objects.filter(pk__one_of=ids).values_list("pk", flat=True)))


def _get_for_update(
    organization: Organization, tombstone: Tombstone, ids: Sequence[int]
) -> tuple[dict[str, int], dict[int, str]]:
    """Lock the images by ascending id. Return ids of active ones by hash, and hashes of those in the trash by id."""
    # By ids and files alone, for the same reason as above. Images with the same hash have the same file.
    batch = SourceImage.objects.filter(pk__one_of=ids).values_list("id", "hash", "tombstone", "file")
    found = [(pk, hash, file) for pk, hash, deletion, file in batch if deletion == tombstone.pk]
    hashes = {pk: hash for pk, hash, _ in found}
    same_files = SourceImage.objects.filter(file_id__one_of={file for _, _, file in found})
    known = set(hashes.values())
    active = [
        pk for pk, hash, deletion in same_files.values_list("id", "hash", "tombstone") if not deletion and hash in known
    ]
    rows = SourceImage.objects.filter(pk__one_of=[*hashes, *active]).order_by("id").select_for_update()
    locked = list(rows.values_list("id", "hash", "tombstone"))
    return (
        {hash: pk for pk, hash, deletion in locked if deletion is None and pk not in hashes},
        {pk: hash for pk, hash, deletion in locked if deletion == tombstone.pk},
    )


def _merge(job: Job, pairs: dict[int, int]) -> dict[int, Outcome]:
    """Merge images in the trash (keys) into active ones (values), all locked for update. Return the outcome by key."""
    images = SourceImage.objects.select_related("organization", "file").in_bulk([*pairs, *pairs.values()])
    outcomes: dict[int, Outcome] = {}
    while pairs:  # repeats only if the deletion has several images with one hash
        batch = {active: deleted for deleted, active in pairs.items()}
        found = [(images[active], images[deleted]) for active, deleted in batch.items()]
        merged = merge(found, actor_of(job), job_id=job.pk)
        outcomes |= dict(zip(batch.values(), merged, strict=True))
        pairs = {deleted: active for deleted, active in pairs.items() if batch[active] != deleted}
    return outcomes


def _finish(job: Job) -> Job:
    """Complete the job. Raises InvalidInput if images were purged; those that another user restored don't count."""
    if job.counts.get(Outcome.NOT_FOUND):
        raise InvalidInput(
            f"Some images were permanently deleted before they could be restored. {job.counts.get('restored', 0)} "
            "images were restored."
        )
    return complete(job)
