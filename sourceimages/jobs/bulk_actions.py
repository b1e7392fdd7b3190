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
from sourceimages.jobs.progress import REMOVED, actor_of, advance, dealing_with, done, next_ids, open_tombstone, taken
from sourceimages.models import SourceImage
from sourceimages.operations import restore_exactly, set_protected
from sourceimages.operations.delete import held, record_each, refuse_locked
from sourceimages.operations.update import lock_held, set_user_metadata_of_held

AT_A_TIME = 50  # pictures that are looked up at once where each is a transaction
TOGETHER = 100  # pictures that are held and changed in one transaction, for which others wait
BATCH = 1000  # pictures that are deleted in one transaction
LOCKED = "It is locked."

Became = str | DomainError  # what a picture has become, in a word for the report; or why it has not


@dataclass(frozen=True, slots=True)
class Act:
    """Does it to pictures of one organization, with the arguments of the job, and says of each what it became.

    `together`: to any number of them, which are living and held. Otherwise to one, which is not held.
    """

    needs: Permission
    do: Callable[[Sequence[SourceImage], dict[str, Any], Actor], Sequence[Became]]
    together: bool = False
    takes: frozenset[str] = frozenset()  # arguments that the job has to have


def lock(images: Sequence[SourceImage], arguments: dict[str, Any], actor: Actor) -> list[Became]:
    changed = lock_held(images, True, actor)
    return ["locked" if image in changed else "locked already" for image in images]


def unlock(images: Sequence[SourceImage], arguments: dict[str, Any], actor: Actor) -> list[Became]:
    changed = lock_held(images, False, actor)
    return ["unlocked" if image in changed else "not locked" for image in images]


def set_metadata(images: Sequence[SourceImage], arguments: dict[str, Any], actor: Actor) -> list[Became]:
    after: dict[SourceImage, dict[str, Any]] = {}
    refused: dict[SourceImage, DomainError] = {}
    for image in images:
        try:
            refuse_locked(image)
            after[image] = metadata.merged(image.user_metadata, arguments["changes"])
        except DomainError as error:
            refused[image] = error
    changed = set_user_metadata_of_held(after, actor)
    return [refused.get(image) or ("changed" if image in changed else "unchanged") for image in images]


def one(
    do: Callable[[SourceImage, Actor], str],
) -> Callable[[Sequence[SourceImage], dict[str, Any], Actor], list[Became]]:
    """For an operation on one picture, of which nothing remains if it is refused."""

    def attempt(images: Sequence[SourceImage], arguments: dict[str, Any], actor: Actor) -> list[Became]:
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
    return restore_exactly(image, actor=actor).value


ACTS = {
    "lock": Act(Permission.IMAGES_UNLOCK, lock, together=True),
    "unlock": Act(Permission.IMAGES_UNLOCK, unlock, together=True),
    "protect": Act(Permission.IMAGES_WRITE, one(protect)),
    "unprotect": Act(Permission.IMAGES_WRITE, one(unprotect)),
    "set-metadata": Act(Permission.IMAGES_WRITE, set_metadata, together=True, takes=frozenset({"changes"})),
    "restore-some": Act(Permission.IMAGES_WRITE, one(restore)),
}


@transaction.atomic
def alone(kind: str, image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    """Do it to one picture, without a job, and say what it became. Raises what the operation does."""
    act = ACTS[kind]
    (became,) = act.do([held(image) if act.together else image], arguments, actor)
    if isinstance(became, DomainError):
        raise became
    return became


def each_step(job_id: UUID) -> Job:
    """Some pictures by ascending id, so that each is met once, also where what is done changes what is found."""
    with transaction.atomic():
        job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    together = ACTS[job.kind].together
    ids = next_ids(job, TOGETHER if together else AT_A_TIME)
    for some in [ids] if together else [[image_id] for image_id in ids]:
        job = _some(job_id, some)
    if not ids:
        with transaction.atomic():
            job = done(taken(job_id))
    return job


@transaction.atomic
def _some(job_id: UUID, ids: list[int]) -> Job:
    """The pictures and the job's position in one transaction: killed at any moment, each is done once."""
    job = taken(job_id)
    ids = [image_id for image_id in ids if image_id > job.position]
    if job.state != Job.State.RUNNING or not ids:
        return job  # somebody has asked to stop, or another process has done these
    with dealing_with(job, ids):
        act, some = ACTS[job.kind], job.organization.images.filter(pk__in=ids)
        images = some.living().hold_all() if act.together else list(some.select_related("organization", "file"))
        became = act.do(images, job.arguments, actor_of(job)) if images else []
        failpoints.point("act.done")
        removed = set(ids) - {image.pk for image in images}
        report = Counter(map(_reported, became)) + Counter(gone=len(removed))
        left = dict.fromkeys(removed, REMOVED) | {
            image.pk: _message(why) for image, why in zip(images, became, strict=True) if isinstance(why, DomainError)
        }
        advance(job, ids[-1], report, done=len(ids), failed=report["failed"], left=left)
    return job


def _message(why: DomainError) -> str:
    match why:
        case ImageLocked():
            return LOCKED
        case ImageNotFound():
            return REMOVED
    return why.message


def _reported(became: Became) -> str:
    match became:
        case ImageLocked():
            return "locked"
        case ImageNotFound():  # somebody deleted it meanwhile
            return "gone"
        case DomainError():
            return "failed"
    return became


@transaction.atomic
def delete_step(job_id: UUID) -> Job:
    """What is chosen points to the tombstone of the job; locked ones are left, and named."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = open_tombstone(job)
    ids = next_ids(job, BATCH)
    if not ids:
        return done(job)
    with dealing_with(job, ids):
        found = job.organization.images.living().filter(pk__in=ids).hold_all()
        locked = {image.pk for image in found if image.locked}
        deleted = [image for image in found if not image.locked]
        removed = set(ids) - {image.pk for image in found}
        SourceImage.objects.filter(pk__in=[image.pk for image in deleted]).update(tombstone=tombstone)
        record_each(actor_of(job), "image.deleted", deleted, tombstone_id=tombstone.pk, job_id=job.pk)
        report = {"deleted": len(deleted), "locked": len(locked), "gone": len(removed)}
        left = dict.fromkeys(sorted(locked), LOCKED) | dict.fromkeys(sorted(removed), REMOVED)
        advance(job, ids[-1], report, done=len(ids), left=left)
        counters.add(job.organization, images=-len(deleted))
    return job
