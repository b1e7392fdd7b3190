"""The batches of jobs that process a whole organization.

A batch is one transaction that also saves the job's position, so that no batch runs twice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import transaction

from organizations.models import Job, Organization
from organizations.permissions import Permission
from organizations.usage import counters
from rokka.core.errors import InvalidInput
from sourceimages.errors import InvalidDestination
from sourceimages.jobs import restore_deletion, undo
from sourceimages.jobs.kinds import COPY_ALL, DELETE_ALL, REINDEX, RESTORE_DELETION, UNDO
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing, restorable_tombstone
from sourceimages.jobs.registry import JobKind, register
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations.copy import copy_images
from sourceimages.outcomes import MESSAGES, Outcome
from sourceimages.search import index_state, indexing

COPY_BATCH = 2000  # rows
INDEX_BATCH = 500  # rows; their documents are indexed in Python, not in SQL


@transaction.atomic
def run_delete_all_batch(job_id: UUID) -> Job:
    """Move the active images of a batch to the trash. Locked images and those deleted since are skipped."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = restorable_tombstone(job.params)
    ids = next_ids(job, COPY_BATCH)
    if not ids:
        return complete(job)
    with processing(job, ids):
        images = SourceImage.objects.filter(pk__one_of=ids)
        deleted = images.active().filter(locked=False).update(tombstone=tombstone)
        skipped = {} if deleted == len(ids) else _not_deleted(ids, tombstone)
        counts = Counter({Outcome.DELETED: deleted}) + Counter(skipped.values())
        messages = {image_id: MESSAGES[outcome] for image_id, outcome in skipped.items()}
        advance(job, ids[-1], counts, processed=len(ids), skipped=messages)
        counters.add(job.organization, images=-deleted)
    return job


def _not_deleted(ids: Sequence[int], tombstone: Tombstone) -> dict[int, Outcome]:
    """Return why images were not deleted, LOCKED or NOT_FOUND, by id."""
    tombstones = dict(SourceImage.objects.filter(pk__one_of=ids).values_list("id", "tombstone"))
    return {
        pk: Outcome.LOCKED if pk in tombstones and tombstones[pk] is None else Outcome.NOT_FOUND
        for pk in ids
        if tombstones.get(pk) != tombstone.pk
    }


@transaction.atomic
def run_index_batch(job_id: UUID) -> Job:
    """Rebuild the search index of the images of a batch, including images in the trash."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    built_for = index_state.current_version(index_state.language_to_write(job.organization_id))
    if built_for != job.params.get("index"):
        raise InvalidInput(
            "The search language was changed after the job started. Another job builds the index for the new language."
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
        advance(job, ids[-1], {Outcome.INDEXED: len(found)}, processed=len(ids))
    return job


def run_copy_batch(job_id: UUID) -> Job:
    """Copy the files of a batch outside of any transaction, then its rows together with the job's position."""
    with transaction.atomic():
        job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    destination = Organization.objects.filter(name=job.params["destination"]).first()
    if destination is None:
        raise InvalidDestination(f"Organization {job.params['destination']!r} not found.")
    batch = next_ids(job, COPY_BATCH)
    if not batch:
        with transaction.atomic():
            return complete(Job.objects.get_for_update(job_id))

    def before_commit(outcomes: Mapping[int, Outcome]) -> bool:
        current = Job.objects.get_for_update(job_id)
        if current.processed_id != job.processed_id or current.state != Job.State.RUNNING:
            return False  # another process has copied this batch, or a user has cancelled the job
        counts = Counter(outcomes.values())
        failed = sum(counts[outcome] for outcome in COPY_FAILURES)
        messages = {pk: COPY_MESSAGES[outcome] for pk, outcome in outcomes.items() if outcome in COPY_MESSAGES}
        advance(current, batch[-1], counts, processed=len(batch), failed=failed, skipped=messages)
        return True

    # The user who started the job needs the permission to copy now, not only when it was started.
    overwrite = job.params["overwrite"]
    with processing(job, batch):
        copy_images(
            job.organization, batch, destination, overwrite=overwrite, actor=actor_of(job), before_commit=before_commit
        )
    return Job.objects.select_related("organization").get(pk=job_id)


COPY_FAILURES = (Outcome.NOT_FOUND, Outcome.HASH_COLLISION, Outcome.NOT_PERMITTED)
# SKIPPED_EXISTING is missing: the destination has the image, so it counts as neither skipped nor failed.
COPY_MESSAGES = {outcome: MESSAGES[outcome] for outcome in COPY_FAILURES} | {
    Outcome.LOCKED: "Destination image is locked.",
}


# --- Kinds of jobs that process an organization, not a selection ------------------------------------------------------


@register
class CopyAll(JobKind):
    name, label = COPY_ALL, "Copy all images"
    permission = Permission.IMAGES_COPY_FROM

    def run_batch(self, job_id: UUID) -> Job:
        return run_copy_batch(job_id)


@register
class DeleteAll(JobKind):
    name, label = DELETE_ALL, "Delete all images"
    permission = Permission.IMAGES_DELETE_ALL
    tombstone_reason = Tombstone.Reason.DELETE_ALL

    def run_batch(self, job_id: UUID) -> Job:
        return run_delete_all_batch(job_id)


@register
class RestoreDeletion(JobKind):
    name, label = RESTORE_DELETION, "Restore deletion"
    permission = Permission.IMAGES_WRITE

    def run_batch(self, job_id: UUID) -> Job:
        return restore_deletion.run_restore_batch(job_id)


@register
class Reindex(JobKind):
    name, label = REINDEX, "Rebuild search index"
    permission = Permission.IMAGES_DELETE_ALL

    def run_batch(self, job_id: UUID) -> Job:
        return run_index_batch(job_id)


@register
class Undo(JobKind):
    name, label = UNDO, "Undo changes"
    permission = Permission.IMAGES_WRITE

    def run_batch(self, job_id: UUID) -> Job:
        return undo.run_batch(job_id)
