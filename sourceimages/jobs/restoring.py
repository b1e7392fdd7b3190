"""The job that undoes a deletion, and what keeps the purge from taking its images meanwhile."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core.errors import InvalidInput
from sourceimages.errors import TombstoneNotFound
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing
from sourceimages.models import SourceImage, Tombstone, TombstoneQuerySet
from sourceimages.operations.restore import merge
from sourceimages.outcomes import MESSAGES, Outcome

BATCH = 2000  # rows
MIN_RETENTION_DAYS = 7
SKIP_MESSAGES = {  # what an image is left in the trash for, although it has something that no active image has
    Outcome.CONFLICTING: "An active image with this hash exists and keeps its own values.",
    Outcome.LOCKED: "The active image with this hash lacks values of the deleted one and is locked.",
}


def get_restorable(organization: Organization, tombstone_id: UUID | None = None) -> Tombstone:
    """The deletion that is undone, unless named the latest that a user asked for. Raises TombstoneNotFound.

    What has become another image, by protecting it, say, is no deletion that anybody would mean by that.
    """
    tombstones = organization.tombstones.restorable()
    if tombstone_id is not None:
        tombstones = tombstones.filter(pk=tombstone_id)
    else:
        tombstones = tombstones.exclude(reason=Tombstone.Reason.REPLACED)
    found = tombstones.order_by("-deleted_at", "id").first()
    if found is None:
        raise TombstoneNotFound("There is no such act of deleting that can still be undone.")
    return found


def extend_retention(tombstone: TombstoneQuerySet) -> None:
    """Give time to restore it, in the transaction that begins with that. Raises TombstoneNotFound if it has expired."""
    if not extend_all_retention(tombstone):
        raise TombstoneNotFound("What was to be restored has expired.")


def extend_all_retention(tombstones: TombstoneQuerySet) -> int:
    """From now on they do not expire earlier than deletions of today; answer how many there are."""
    return tombstones.restorable().extend(timedelta(days=max(settings.TRASH_RETENTION_DAYS, MIN_RETENTION_DAYS)))


def description(tombstone: Tombstone) -> dict[str, Any]:
    """What is undone, for whoever asked for the latest deletion: why and when it was, and how many images it has."""
    deleted_at = tombstone.deleted_at.isoformat(timespec="seconds")
    return {"reason": tombstone.reason, "deleted_at": deleted_at, "images": tombstone.images.count()}


@transaction.atomic
def run_restore_batch(job_id: UUID) -> Job:
    """Images lose their pointer to the tombstone; those of which there is an active one are merged into it."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = Tombstone.objects.restorable().filter(pk=job.params["deletion_id"]).first()
    if tombstone is None:
        raise InvalidInput(f"The deletion has expired meanwhile: {job.counts.get('restored', 0)} images are restored.")
    ids = next_ids(job, BATCH)
    if not ids:
        return _finish(job)
    with processing(job, ids):
        batch = list(tombstone.images.filter(pk__in=ids).order_by("id").values_list("id", "hash"))
        active, deleted = _get_for_update(job.organization, tombstone, batch)
        back = {hash: pk for pk, hash in deleted.items() if hash not in active}
        count = SourceImage.objects.filter(pk__in=back.values()).update(tombstone=None)
        twins = {pk: active.get(hash) or back[hash] for pk, hash in deleted.items() if back.get(hash) != pk}
        merged = _merge(job, twins)
        counts = Counter({Outcome.RESTORED: count}) + Counter(merged.values())
        left = {pk: SKIP_MESSAGES[outcome] for pk, outcome in merged.items() if outcome in SKIP_MESSAGES}
        missing = set(ids) - set(SourceImage.objects.filter(pk__in=ids).values_list("pk", flat=True))
        counts += Counter({Outcome.NOT_FOUND: len(missing)})
        left |= dict.fromkeys(sorted(missing), MESSAGES[Outcome.NOT_FOUND])
        advance(job, ids[-1], counts, processed=len(ids), left=left)
        counters.add(job.organization, images=count)
    return job


def _get_for_update(
    organization: Organization, tombstone: Tombstone, batch: Iterable[tuple[int, str]]
) -> tuple[dict[str, int], dict[int, str]]:
    """Ids of active images by hash, and hashes of those still in the trash by id, all locked by ascending id."""
    hashes = dict(batch)
    active = organization.images.active().filter(hash__in=hashes.values()).values_list("id", flat=True)
    rows = SourceImage.objects.filter(pk__in=[*hashes, *active]).order_by("id").select_for_update()
    held = list(rows.values_list("id", "hash", "tombstone"))
    return (
        {hash: pk for pk, hash, buried in held if buried is None and pk not in hashes},
        {pk: hash for pk, hash, buried in held if buried == tombstone.pk},
    )


def _merge(job: Job, pairs: dict[int, int]) -> dict[int, Outcome]:
    """Merge images in the trash into active ones, all locked: ids by ids. Answers the outcome of each in the trash."""
    images = SourceImage.objects.select_related("organization", "file").in_bulk([*pairs, *pairs.values()])
    outcomes: dict[int, Outcome] = {}
    while pairs:  # at once; again only where a deletion has several copies of one image
        once = {active: deleted for deleted, active in pairs.items()}
        found = [(images[active], images[deleted]) for active, deleted in once.items()]
        merged = merge(found, actor_of(job), job_id=job.pk)
        outcomes |= dict(zip(once.values(), merged, strict=True))
        pairs = {deleted: active for deleted, active in pairs.items() if once[active] != deleted}
    return outcomes


def _finish(job: Job) -> Job:
    """Done, unless the purge was faster. Images that another user has restored meanwhile are not missed."""
    if job.counts.get(Outcome.NOT_FOUND):
        raise InvalidInput(
            f"Some were removed for good meanwhile: {job.counts.get('restored', 0)} images are restored."
        )
    return complete(job)
