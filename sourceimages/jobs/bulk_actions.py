"""What jobs do to pictures that somebody chose, through their operations.

Where only the pictures' own rows are written, many are done in one transaction. What also holds bytes or counts is done
to one picture after the other: two jobs that hold several of those would wait for each other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations.audit import Actor
from organizations.models import Job
from organizations.permissions import Permission
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.errors import DomainError, Unavailable
from sourceimages import metadata
from sourceimages.errors import ImageLocked, ImageNotFound
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
from sourceimages.models import SourceImage
from sourceimages.operations import restore_by_id, set_protected
from sourceimages.operations.delete import check_not_locked, get_for_update, record_events
from sourceimages.operations.update import set_locked_many, set_user_metadata_many

LOOKUP_BATCH = 50  # pictures that are looked up at once where each is a transaction
TRANSACTION_BATCH = 100  # pictures that are held and changed in one transaction, for which others wait
DELETE_BATCH = 1000  # pictures that are deleted in one transaction
LOCKED_MESSAGE = "It is locked."

Outcome = str | DomainError  # what a picture has become, in a word for the report; or why it has not


@dataclass(frozen=True, slots=True)
class BulkAction:
    """Does it to pictures of one organization, with the params of the job, and says of each what it became.

    `together`: to any number of them, which are living and held. Otherwise to one, which is not held.
    """

    permission: Permission
    do: Callable[[Sequence[SourceImage], dict[str, Any], Actor], Sequence[Outcome]]
    together: bool = False
    takes: frozenset[str] = frozenset()  # params that the job has to have


def lock(images: Sequence[SourceImage], params: dict[str, Any], actor: Actor) -> list[Outcome]:
    changed = set_locked_many(images, True, actor)
    return ["locked" if image in changed else "locked already" for image in images]


def unlock(images: Sequence[SourceImage], params: dict[str, Any], actor: Actor) -> list[Outcome]:
    changed = set_locked_many(images, False, actor)
    return ["unlocked" if image in changed else "not locked" for image in images]


def set_metadata(images: Sequence[SourceImage], params: dict[str, Any], actor: Actor) -> list[Outcome]:
    after: dict[SourceImage, dict[str, Any]] = {}
    refused: dict[SourceImage, DomainError] = {}
    for image in images:
        try:
            check_not_locked(image)
            after[image] = metadata.apply_changes(image.user_metadata, params["changes"])
        except DomainError as error:
            refused[image] = error
    changed = set_user_metadata_many(after, actor)
    return [refused.get(image) or ("changed" if image in changed else "unchanged") for image in images]


def per_image(
    do: Callable[[SourceImage, Actor], str],
) -> Callable[[Sequence[SourceImage], dict[str, Any], Actor], list[Outcome]]:
    """For an operation on one picture, of which nothing remains if it is refused."""

    def attempt(images: Sequence[SourceImage], params: dict[str, Any], actor: Actor) -> list[Outcome]:
        (image,) = images
        try:
            with transaction.atomic():
                return [do(image, actor)]
        except Unavailable:
            raise  # says nothing about the image: the job tries again later
        except DomainError as error:
            return [error]

    return attempt


def protect(image: SourceImage, actor: Actor) -> str:
    derived = set_protected(image, True, delete_previous=True, actor=actor)
    return "protected" if derived.image.pk != image.pk else "protected already"


def unprotect(image: SourceImage, actor: Actor) -> str:
    derived = set_protected(image, False, delete_previous=True, actor=actor)
    return "unprotected" if derived.image.pk != image.pk else "not protected"


def restore(image: SourceImage, actor: Actor) -> str:
    return restore_by_id(image, actor=actor).value


BULK_ACTIONS = {
    "lock": BulkAction(Permission.IMAGES_UNLOCK, lock, together=True),
    "unlock": BulkAction(Permission.IMAGES_UNLOCK, unlock, together=True),
    "protect": BulkAction(Permission.IMAGES_WRITE, per_image(protect)),
    "unprotect": BulkAction(Permission.IMAGES_WRITE, per_image(unprotect)),
    "set_metadata": BulkAction(Permission.IMAGES_WRITE, set_metadata, together=True, takes=frozenset({"changes"})),
    "restore": BulkAction(Permission.IMAGES_WRITE, per_image(restore)),
}


@transaction.atomic
def apply_to_one(kind: str, image: SourceImage, params: dict[str, Any], actor: Actor) -> str:
    """Do it to one picture, without a job, and say what it became. Raises what the operation does."""
    act = BULK_ACTIONS[kind]
    (became,) = act.do([get_for_update(image) if act.together else image], params, actor)
    if isinstance(became, DomainError):
        raise became
    return became


def run_batch(job_id: UUID) -> Job:
    """Some pictures by ascending id, so that each is met once, also where what is done changes what is found."""
    with transaction.atomic():
        job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    together = BULK_ACTIONS[job.kind].together
    ids = next_ids(job, TRANSACTION_BATCH if together else LOOKUP_BATCH)
    for some in [ids] if together else [[image_id] for image_id in ids]:
        job = _apply_batch(job_id, some)
    if not ids:
        with transaction.atomic():
            job = complete(claim(job_id))
    return job


@transaction.atomic
def _apply_batch(job_id: UUID, ids: list[int]) -> Job:
    """The pictures and the job's position in one transaction: killed at any moment, each is done once."""
    job = claim(job_id)
    ids = [image_id for image_id in ids if image_id > job.processed_id]
    if job.state != Job.State.RUNNING or not ids:
        return job  # somebody has asked to stop, or another process has done these
    with processing(job, ids):
        act, some = BULK_ACTIONS[job.kind], job.organization.images.filter(pk__in=ids)
        images = some.active().list_for_update() if act.together else list(some.select_related("organization", "file"))
        became = act.do(images, job.params, actor_of(job)) if images else []
        failpoints.failpoint("act.done")
        removed = set(ids) - {image.pk for image in images}
        report = Counter(map(_report_key, became)) + Counter(gone=len(removed))
        left = dict.fromkeys(removed, NOT_FOUND_MESSAGE) | {
            image.pk: _message(why) for image, why in zip(images, became, strict=True) if isinstance(why, DomainError)
        }
        advance(job, ids[-1], report, processed=len(ids), failed=report["failed"], left=left)
    return job


def _message(why: DomainError) -> str:
    match why:
        case ImageLocked():
            return LOCKED_MESSAGE
        case ImageNotFound():
            return NOT_FOUND_MESSAGE
    return why.message


def _report_key(became: Outcome) -> str:
    match became:
        case ImageLocked():
            return "locked"
        case ImageNotFound():  # somebody deleted it meanwhile
            return "gone"
        case DomainError():
            return "failed"
    return became


@transaction.atomic
def run_delete_batch(job_id: UUID) -> Job:
    """What is chosen points to the tombstone of the job; locked ones are left, and named."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = restorable_tombstone(job)
    ids = next_ids(job, DELETE_BATCH)
    if not ids:
        return complete(job)
    with processing(job, ids):
        found = job.organization.images.active().filter(pk__in=ids).list_for_update()
        locked = {image.pk for image in found if image.locked}
        deleted = [image for image in found if not image.locked]
        removed = set(ids) - {image.pk for image in found}
        SourceImage.objects.filter(pk__in=[image.pk for image in deleted]).update(tombstone=tombstone)
        record_events(actor_of(job), "image.deleted", deleted, tombstone_id=tombstone.pk, job_id=job.pk)
        report = {"deleted": len(deleted), "locked": len(locked), "gone": len(removed)}
        left = dict.fromkeys(sorted(locked), LOCKED_MESSAGE) | dict.fromkeys(sorted(removed), NOT_FOUND_MESSAGE)
        advance(job, ids[-1], report, processed=len(ids), left=left)
        counters.add(job.organization, images=-len(deleted))
    return job
