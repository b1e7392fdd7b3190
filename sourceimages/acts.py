"""What jobs do to pictures that somebody chose. Most acts take one picture after the other, through its operation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from organizations import counters
from organizations.audit import Actor
from organizations.models import Job
from organizations.permissions import Permission
from rokka import faults
from rokka.errors import DomainError
from sourceimages.errors import ImageLocked
from sourceimages.jobprogress import actor_of, advance, chosen, done, open_tombstone, taken
from sourceimages.models import SourceImage
from sourceimages.operations import change_user_metadata, restore_exactly, set_locked, set_protected
from sourceimages.operations.delete import record_each

AT_A_TIME = 50  # pictures that are looked up at once; each is a transaction
BATCH = 1000  # pictures that are deleted in one transaction
LOCKED = "It is locked."


@dataclass(frozen=True, slots=True)
class Act:
    """Does it to one picture, with the arguments of the job, and answers what has become of it, for the report."""

    needs: Permission
    do: Callable[[SourceImage, dict[str, Any], Actor], str]
    takes: frozenset[str] = frozenset()  # arguments that the job has to have


def lock(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    return "locked" if _changes_lock(image, True, actor) else "locked already"


def unlock(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    return "unlocked" if _changes_lock(image, False, actor) else "not locked"


def _changes_lock(image: SourceImage, locked: bool, actor: Actor) -> bool:
    set_locked(image, locked, actor=actor)
    return image.locked != locked


def protect(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    derived = set_protected(image, True, delete_previous=True, actor=actor)
    return "protected" if derived.image.pk != image.pk else "protected already"


def unprotect(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    derived = set_protected(image, False, delete_previous=True, actor=actor)
    return "unprotected" if derived.image.pk != image.pk else "not protected"


def set_metadata(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    changed = change_user_metadata(image, arguments["changes"], actor=actor)
    return "changed" if changed.user_metadata != image.user_metadata else "unchanged"


def restore(image: SourceImage, arguments: dict[str, Any], actor: Actor) -> str:
    return "restored" if restore_exactly(image, actor=actor) else "existing"


ACTS = {
    "lock": Act(Permission.IMAGES_UNLOCK, lock),
    "unlock": Act(Permission.IMAGES_UNLOCK, unlock),
    "protect": Act(Permission.IMAGES_WRITE, protect),
    "unprotect": Act(Permission.IMAGES_WRITE, unprotect),
    "set-metadata": Act(Permission.IMAGES_WRITE, set_metadata, frozenset({"changes"})),
    "restore-some": Act(Permission.IMAGES_WRITE, restore),
}


def each_step(job_id: UUID) -> Job:
    """A few pictures by ascending id, so that each is met once, also where what is done changes what is found."""
    with transaction.atomic():
        job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    ids = list(chosen(job).between(job.position, job.upto).order_by("id").values_list("id", flat=True)[:AT_A_TIME])
    for image_id in ids:
        job = _one(job_id, image_id)
    if not ids:
        with transaction.atomic():
            job = done(taken(job_id))
    return job


@transaction.atomic
def _one(job_id: UUID, image_id: int) -> Job:
    """The picture and the job's position in one transaction: killed at any moment, it is done once."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING or job.position >= image_id:
        return job  # somebody has asked to stop, or another process has done this one
    image = SourceImage.objects.select_related("organization", "file").filter(pk=image_id).first()
    if image is None:
        advance(job, image_id, {"gone": 1}, done=1)
        return job
    try:
        with transaction.atomic():
            became = ACTS[job.kind].do(image, job.arguments, actor_of(job))
            faults.point("act.done")
    except ImageLocked:
        advance(job, image_id, {"locked": 1}, done=1, failures=[(image.hash, LOCKED)])
    except DomainError as error:
        advance(job, image_id, {"failed": 1}, done=1, failed=1, failures=[(image.hash, error.message)])
    else:
        advance(job, image_id, {became: 1}, done=1)
    return job


@transaction.atomic
def delete_step(job_id: UUID) -> Job:
    """What is chosen points to the tombstone of the job; locked ones are left, and named."""
    job = taken(job_id)
    if job.state != Job.State.RUNNING:
        return job
    tombstone = open_tombstone(job)
    ids = list(chosen(job).between(job.position, job.upto).order_by("id").values_list("id", flat=True)[:BATCH])
    if not ids:
        return done(job)
    found = list(SourceImage.objects.living().filter(pk__in=ids).order_by("id").select_for_update())
    locked = [image for image in found if image.locked]
    deleted = [image for image in found if not image.locked]
    SourceImage.objects.filter(pk__in=[image.pk for image in deleted]).update(tombstone=tombstone)
    about = {"tombstone_id": tombstone.pk, "job_id": job.pk}
    record_each(actor_of(job), "image.deleted", job.organization, deleted, **about)
    report = {"deleted": len(deleted), "locked": len(locked), "gone": len(ids) - len(found)}
    advance(job, ids[-1], report, done=len(ids), failures=[(image.hash, LOCKED) for image in locked])
    counters.add(job.organization, images=-len(deleted))
    return job
