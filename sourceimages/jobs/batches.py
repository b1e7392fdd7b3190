"""One batch of each kind of job: one transaction that also moves the job's position, so that none is done twice."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from django.db import transaction

from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core.errors import InvalidInput
from sourceimages.errors import (
    InvalidDestination,
)
from sourceimages.jobs import bulk_actions, restoring, undo
from sourceimages.jobs.kinds import COPY, COPY_ALL, DELETE, DELETE_ALL, REINDEX, RESTORE_DELETION, UNDO
from sourceimages.jobs.progress import (
    NOT_FOUND_MESSAGE,
    actor_of,
    advance,
    claim,
    complete,
    next_ids,
    processing,
    restorable_tombstone,
)
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations.copy import Outcome, copy_images
from sourceimages.search import index_state, indexing

COPY_BATCH = 2000  # rows
INDEX_BATCH = 500  # rows that pass through Python


@transaction.atomic
def run_delete_all_batch(job_id: UUID) -> Job:
    """Active images point to the tombstone; locked ones are skipped, as is what was removed meanwhile."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = restorable_tombstone(job)
    ids = next_ids(job, COPY_BATCH)
    if not ids:
        return complete(job)
    with processing(job, ids):
        images = SourceImage.objects.filter(pk__in=ids)
        deleted = images.active().filter(locked=False).update(tombstone=tombstone)
        left = {} if deleted == len(ids) else _not_deleted(ids, tombstone)
        locked = sum(message == bulk_actions.LOCKED_MESSAGE for message in left.values())
        report = {"deleted": deleted, "locked": locked, "gone": len(left) - locked}
        advance(job, ids[-1], report, processed=len(ids), left=left)
        counters.add(job.organization, images=-deleted)
    return job


def _not_deleted(ids: Sequence[int], tombstone: Tombstone) -> dict[int, str]:
    """Which of these images are not in this deletion, and why."""
    now = dict(SourceImage.objects.filter(pk__in=ids).values_list("id", "tombstone"))
    return {
        pk: bulk_actions.LOCKED_MESSAGE if pk in now and now[pk] is None else NOT_FOUND_MESSAGE
        for pk in ids
        if now.get(pk) != tombstone.pk
    }


@transaction.atomic
def run_index_batch(job_id: UUID) -> Job:
    """What is searched is made anew of the documents; those in the trash included."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    built_for = index_state.current_version(index_state.language_to_write(job.organization_id))
    if built_for != job.params.get("index"):
        raise InvalidInput(
            "The language of the organization has changed meanwhile. Another job builds the index for it."
        )
    ids = next_ids(job, INDEX_BATCH)
    if not ids:
        if not job.failed:
            index_state.finish(job.organization, built_for)
        return complete(job)
    with processing(job, ids):
        images = job.organization.images.filter(pk__in=ids).select_related("organization", "file").order_by("id")
        found = list(images.select_for_update(of=("self",)))
        indexing.remove([image.pk for image in found])
        indexing.add(found)
        advance(job, ids[-1], {"indexed": len(found)}, processed=len(ids))
    return job


def run_copy_batch(job_id: UUID) -> Job:
    """Bytes first, outside of any transaction, then the rows of the whole batch with the job's new position."""
    with transaction.atomic():
        job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    destination = Organization.objects.filter(name=job.params["destination"]).first()
    if destination is None:
        raise InvalidDestination(f"There is no organization called {job.params['destination']!r}.")
    batch = next_ids(job, COPY_BATCH)
    if not batch:
        with transaction.atomic():
            return complete(Job.objects.get_for_update(job_id))

    def before_commit(outcomes: Mapping[int, Outcome]) -> bool:
        now = Job.objects.get_for_update(job_id)
        if now.processed_id != job.processed_id or now.state != Job.State.RUNNING:
            return False  # another process has done this batch, or somebody has asked to stop
        counts = Counter(outcomes.values())
        failed = sum(counts[outcome] for outcome in FAILED)
        left = {pk: SKIP_MESSAGES[outcome] for pk, outcome in outcomes.items() if outcome in SKIP_MESSAGES}
        report = {outcome.value: count for outcome, count in counts.items()}
        advance(now, batch[-1], report, processed=len(batch), failed=failed, left=left)
        return True

    # By the rights that whoever started it has now.
    overwrite = job.params["overwrite"]
    with processing(job, batch):
        copy_images(
            job.organization, batch, destination, overwrite=overwrite, actor=actor_of(job), before_commit=before_commit
        )
    return Job.objects.select_related("organization").get(pk=job_id)


BATCH_HANDLERS: dict[str, Callable[[UUID], Job]] = {
    COPY_ALL: run_copy_batch,
    DELETE_ALL: run_delete_all_batch,
    RESTORE_DELETION: restoring.run_restore_batch,
    REINDEX: run_index_batch,
    UNDO: undo.run_batch,
    DELETE: bulk_actions.run_delete_batch,
    COPY: run_copy_batch,
    **dict.fromkeys(bulk_actions.BULK_ACTIONS, bulk_actions.run_batch),
}
SKIP_MESSAGES = {  # an image that is there already, and was not to be overwritten, is no error
    Outcome.LOCKED: "It is there already, and locked.",
    Outcome.GONE: "It, or its bytes, were gone before it could be copied.",
    Outcome.COLLISION: "Other bytes with the same sha1 are kept there.",
    Outcome.PROTECTED: "It is protected, and the roles of the user who started the job do not allow copying it.",
}
FAILED = (Outcome.GONE, Outcome.COLLISION, Outcome.PROTECTED)  # the others were skipped
