"""Taking back what a job has done, image by image, from what the history says about it.

What somebody changed after the job stays as it is, and is named among the failures.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from organizations.audit import Actor
from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core import failpoints
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing, restorable_tombstone
from sourceimages.models import ImageVersion, SourceImage, SourceImageQuerySet
from sourceimages.operations.delete import record_events
from sourceimages.operations.versions import put_back
from sourceimages.versions import record_versions, values_of

BATCH = 100  # images that are locked and changed in one transaction, for which others wait

UNDONE = "undone"
CHANGED, LOCKED, NOT_FOUND, EXISTING = "changed since", "locked", "gone", "existing"
MESSAGES = {
    CHANGED: "It was changed after the job.",
    LOCKED: "It is locked.",
    NOT_FOUND: "It was deleted after the job.",
    EXISTING: "There is an active image with its hash.",
}

Kind = ImageVersion.Kind
Versions = Sequence[ImageVersion]  # of one image, oldest first


def get_organization(job: Job) -> Organization | None:
    """Where the images are that the job has changed; None if that organization does not exist any more."""
    if destination := job.params.get("destination"):
        return Organization.objects.filter(name=destination).first()
    return job.organization


def affected_images(job: Job, organization: Organization) -> SourceImageQuerySet:
    """Images of the organization that the job has changed, made or replaced, as far as the history goes back."""
    images: SourceImageQuerySet = organization.images.filter(pk__in=_changes(organization, job.pk).values("image_id"))
    return images


def is_possible(job: Job) -> bool:
    """Whether the history knows of something that the job did; a deletion is restored from the trash instead."""
    organization = None if job.unfinished else get_organization(job)
    return organization is not None and _changes(organization, job.pk).exists()


def makes_deletions(job: Job, organization: Organization) -> bool:
    """Whether undoing the job moves images to the trash: those that it made."""
    made = (Kind.CREATED, Kind.REPLACED, Kind.RESTORED)
    return _changes(organization, job.pk).filter(kind__in=made).exists()


def _changes(organization: Organization, job_id: UUID) -> QuerySet[ImageVersion]:
    return organization.versions.filter(job_id=job_id).exclude(kind=Kind.RESTORE_CONFLICT)


@transaction.atomic
def run_batch(job_id: UUID) -> Job:
    """Some images by ascending id, with all that the job did to each, and the position in one transaction."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    undone = UUID(job.params["job"])
    ids = next_ids(job, BATCH)
    if not ids:
        return complete(job)
    with processing(job, ids):
        versions = _versions_of(job, undone, ids)
        outcomes = dict.fromkeys(ids, NOT_FOUND)  # the history went with an image that was purged since
        change = 0
        if versions:
            batch = Batch.read(job.organization, undone, versions)
            outcomes |= {image_id: batch.plan(image_id, of_image) for image_id, of_image in versions.items()}
            change = batch.apply(job)
        failpoints.failpoint("undo.done")
        left = {image_id: MESSAGES[outcome] for image_id, outcome in outcomes.items() if outcome != UNDONE}
        advance(job, ids[-1], Counter(outcomes.values()), processed=len(ids), left=left)
        counters.add(job.organization, images=change)
    return job


def _versions_of(job: Job, undone: UUID, ids: Sequence[int]) -> dict[int, list[ImageVersion]]:
    """What the job to be undone did to these images, by their id."""
    versions = _changes(job.organization, undone)
    found: dict[int, list[ImageVersion]] = defaultdict(list)
    for version in versions.filter(image_id__in=ids).order_by("image_id", "id"):
        found[version.image_id].append(version)
    return found


@dataclass(slots=True)
class Batch:
    """Images that are locked, what is known of them, and what is to be done to which."""

    images: dict[int, SourceImage]
    restorable: set[int]  # ids of those in the trash that may still come back
    in_use: set[str]  # hashes of active images
    changed_later: dict[int, Versions]  # changes after those of the job, by image

    delete: list[SourceImage] = field(default_factory=list)
    restore: list[SourceImage] = field(default_factory=list)
    values: dict[SourceImage, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, organization: Organization, undone: UUID, versions: dict[int, list[ImageVersion]]) -> "Batch":
        every = [version for of_image in versions.values() for version in of_image]
        ids = versions.keys() | {version.derived_id for version in every if version.derived_id}
        images = {image.pk: image for image in organization.images.filter(pk__in=ids).list_for_update()}
        deleted = {pk: image.hash for pk, image in images.items() if image.deleted}
        later: dict[int, list[ImageVersion]] = defaultdict(list)
        since = ImageVersion.objects.filter(image_id__in=ids, pk__gt=min(version.pk for version in every))
        for version in since.exclude(job_id=undone).exclude(kind=Kind.RESTORE_CONFLICT):
            later[version.image_id].append(version)
        return cls(
            images,
            set(SourceImage.objects.in_trash().filter(pk__in=deleted).values_list("pk", flat=True)),
            set(organization.images.active().filter(hash__in=deleted.values()).values_list("hash", flat=True)),
            dict(later),
        )

    def plan(self, image_id: int, versions: Versions) -> str:
        """Decide what is to be done to an image, and answer UNDONE, or why nothing is."""
        return PLANS.get(versions[0].kind, Batch._plan_values)(self, image_id, versions)

    def _plan_values(self, image_id: int, versions: Versions) -> str:
        values: dict[str, Any] = {}
        for version in reversed(versions):  # what the first one replaced is what was before the job
            values |= values_of(version)
        why = self._unchangeable(image_id, versions[0].pk, values.keys())
        if not why:
            self.values[self.images[image_id]] = values
        return why or UNDONE

    def _plan_deletion(self, image_id: int, versions: Versions) -> str:
        why = self._unchangeable(image_id, versions[0].pk)
        if not why:
            self.delete.append(self.images[image_id])
        return why or UNDONE

    def _plan_restore(self, image_id: int, versions: Versions) -> str:
        why = self._unrestorable(image_id)
        if not why:
            self.restore.append(self.images[image_id])
        return why or UNDONE

    def _plan_exchange(self, image_id: int, versions: Versions) -> str:
        """The image comes back, and what the job made in its place goes to the trash; both or none of them."""
        derived = versions[0].derived_id
        why = self._unrestorable(image_id) or (self._unchangeable(derived, versions[0].pk) if derived else "")
        if not why:
            self.restore.append(self.images[image_id])
            self.delete += [self.images[derived]] if derived else []
        return why or UNDONE

    def _unchangeable(self, image_id: int, version_id: int, fields: Any = None) -> str:
        """Why the image is left as it is; `fields` are all that matter of what was changed since, if given."""
        image = self.images.get(image_id)
        if image is None or image.deleted:
            return NOT_FOUND
        if image.locked:
            return LOCKED
        later = [version for version in self.changed_later.get(image_id, ()) if version.pk > version_id]
        if any(fields is None or version.before.keys() & fields for version in later):
            return CHANGED
        return ""

    def _unrestorable(self, image_id: int) -> str:
        image = self.images.get(image_id)
        if image is not None and (not image.deleted or image.hash in self.in_use):
            return EXISTING
        return "" if image_id in self.restorable else NOT_FOUND

    def apply(self, job: Job) -> int:
        """Do what is planned, and answer by how many the active images have become more."""
        actor = actor_of(job)
        put_back(self.values, actor)
        if self.delete:
            self._delete(job, actor)
        if self.restore:
            self._restore(actor)
        return len(self.restore) - len(self.delete)

    def _delete(self, job: Job, actor: Actor) -> None:
        tombstone = restorable_tombstone(job)
        SourceImage.objects.filter(pk__in=[image.pk for image in self.delete]).update(tombstone=tombstone)
        record_versions(Kind.DELETED, {image: {} for image in self.delete}, actor)
        record_events(actor, "image.deleted", self.delete, tombstone_id=tombstone.pk)

    def _restore(self, actor: Actor) -> None:
        SourceImage.objects.filter(pk__in=[image.pk for image in self.restore]).update(tombstone=None)
        record_versions(Kind.RESTORED, {image: {} for image in self.restore}, actor)
        record_events(actor, "image.restored", self.restore)


PLANS: dict[str, Callable[[Batch, int, Versions], str]] = {
    Kind.CREATED: Batch._plan_deletion,
    Kind.RESTORED: Batch._plan_deletion,
    Kind.DELETED: Batch._plan_restore,
    Kind.REPLACED: Batch._plan_exchange,
}
