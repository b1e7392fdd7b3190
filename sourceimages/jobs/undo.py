"""Undo a job image by image, from the history of the images that it changed.

Images that were changed after the job are skipped and listed in the errors of the new job.
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
from sourceimages import references
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing, restorable_tombstone
from sourceimages.models import ImageVersion, SourceImage, SourceImageQuerySet
from sourceimages.operations.delete import record_events
from sourceimages.operations.versions import put_back
from sourceimages.outcomes import Outcome
from sourceimages.versions import record_versions, values_of

BATCH = 100  # images that are locked and changed in one transaction; other requests for them wait

MESSAGES = {
    Outcome.CHANGED_SINCE: "Image was changed after the job.",
    Outcome.LOCKED: "Image is locked.",
    Outcome.NOT_FOUND: "Image was deleted after the job.",
    Outcome.SKIPPED_EXISTING: "An active image with this hash exists.",
}

Kind = ImageVersion.Kind
Versions = Sequence[ImageVersion]  # of one image, oldest first


def get_organization(job: Job) -> Organization | None:
    """The organization whose images the job changed; None if it no longer exists."""
    if destination := job.params.get("destination"):
        return Organization.objects.filter(name=destination).first()
    return job.organization


def affected_images(job: Job, organization: Organization) -> SourceImageQuerySet:
    """Images of the organization that the job changed, created or replaced, as far as the history goes back."""
    images: SourceImageQuerySet = organization.images.filter(pk__in=_changes(organization, job.pk).values("image_id"))
    return images


def is_possible(job: Job) -> bool:
    """Whether the history has changes by the job. A deletion has none: it is restored from the trash instead."""
    organization = None if job.unfinished else get_organization(job)
    return organization is not None and _changes(organization, job.pk).exists()


def makes_deletions(job: Job, organization: Organization) -> bool:
    """Whether undoing the job moves images that it created to the trash."""
    added = (Kind.CREATED, Kind.REPLACED, Kind.RESTORED)
    return _changes(organization, job.pk).filter(kind__in=added).exists()


def _changes(organization: Organization, job_id: UUID) -> QuerySet[ImageVersion]:
    return organization.versions.filter(job_id=job_id).exclude(kind=Kind.RESTORE_CONFLICT)


@transaction.atomic
def run_batch(job_id: UUID) -> Job:
    """Undo the changes to some images, by ascending id, and save the progress in one transaction."""
    job = claim(job_id)
    if job.state != Job.State.RUNNING:
        return job
    undone = UUID(job.params["job"])
    ids = next_ids(job, BATCH)
    if not ids:
        return complete(job)
    with processing(job, ids):
        versions = _versions_of(job, undone, ids)
        outcomes: dict[int, Outcome] = dict.fromkeys(ids, Outcome.NOT_FOUND)  # purging an image removes its history
        change = 0
        if versions:
            batch = Batch.read(job.organization, undone, versions)
            outcomes |= {image_id: batch.plan(image_id, of_image) for image_id, of_image in versions.items()}
            change = batch.apply(job)
        failpoints.failpoint("undo.applied")
        skipped = {image_id: MESSAGES[outcome] for image_id, outcome in outcomes.items() if outcome != Outcome.UNDONE}
        advance(job, ids[-1], Counter(outcomes.values()), processed=len(ids), skipped=skipped)
        counters.add(job.organization, images=change)
    return job


def _versions_of(job: Job, undone: UUID, ids: Sequence[int]) -> dict[int, list[ImageVersion]]:
    """The changes of the undone job by image id."""
    versions = _changes(job.organization, undone)
    found: dict[int, list[ImageVersion]] = defaultdict(list)
    for version in versions.filter(image_id__in=ids).order_by("image_id", "id"):
        found[version.image_id].append(version)
    return found


@dataclass(slots=True)
class Batch:
    """Images locked for update, their state, and the changes planned for them."""

    images: dict[int, SourceImage]
    restorable: set[int]  # ids of images in the trash that have not expired
    in_use: set[str]  # hashes of active images
    changed_later: dict[int, Versions]  # changes after those of the job, by image

    exchanged: list[tuple[SourceImage, SourceImage]] = field(default_factory=list)  # deleted and restored images
    moved: list[ImageVersion] = field(default_factory=list)  # references that move back to the image of the version
    delete: list[SourceImage] = field(default_factory=list)
    restore: list[SourceImage] = field(default_factory=list)
    values: dict[SourceImage, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, organization: Organization, undone: UUID, versions: dict[int, list[ImageVersion]]) -> "Batch":
        """Lock the images of these versions, and read what the plans depend on."""
        changes = [version for of_image in versions.values() for version in of_image]
        ids = versions.keys() | {version.derived_id for version in changes if version.derived_id}
        images = {image.pk: image for image in organization.images.filter(pk__in=ids).list_for_update()}
        deleted = {pk: image.hash for pk, image in images.items() if image.deleted}
        later: dict[int, list[ImageVersion]] = defaultdict(list)
        since = ImageVersion.objects.filter(image_id__in=ids, pk__gt=min(version.pk for version in changes))
        for version in since.exclude(job_id=undone).exclude(kind=Kind.RESTORE_CONFLICT):
            later[version.image_id].append(version)
        return cls(
            images,
            set(SourceImage.objects.in_trash().filter(pk__in=deleted).values_list("pk", flat=True)),
            set(organization.images.active().filter(hash__in=deleted.values()).values_list("hash", flat=True)),
            dict(later),
        )

    def plan(self, image_id: int, versions: Versions) -> Outcome:
        """Plan the changes to an image, and return UNDONE, or why it is skipped."""
        outcome = PLANS.get(versions[0].kind, Batch._plan_values)(self, image_id, versions)
        if outcome == Outcome.UNDONE:
            self.moved += [version for version in versions if version.kind in references.MOVED and version.derived_id]
        return outcome

    def _plan_values(self, image_id: int, versions: Versions) -> Outcome:
        values: dict[str, Any] = {}
        for version in reversed(versions):  # the oldest one has the values from before the job
            values |= values_of(version)
        refusal = self._unchangeable(image_id, versions[0].pk, values.keys())
        if not refusal:
            self.values[self.images[image_id]] = values
        return refusal or Outcome.UNDONE

    def _plan_deletion(self, image_id: int, versions: Versions) -> Outcome:
        refusal = self._unchangeable(image_id, versions[0].pk)
        if not refusal:
            self.delete.append(self.images[image_id])
        return refusal or Outcome.UNDONE

    def _plan_restore(self, image_id: int, versions: Versions) -> Outcome:
        refusal = self._unrestorable(image_id)
        if not refusal:
            self.restore.append(self.images[image_id])
        return refusal or Outcome.UNDONE

    def _plan_exchange(self, image_id: int, versions: Versions) -> Outcome:
        """Restore the image and move the one that replaced it to the trash; both or neither."""
        derived = versions[0].derived_id
        refusal = self._unrestorable(image_id) or (self._unchangeable(derived, versions[0].pk) if derived else None)
        if not refusal:
            self.restore.append(self.images[image_id])
            if derived:
                self.delete.append(self.images[derived])
                self.exchanged.append((self.images[derived], self.images[image_id]))
        return refusal or Outcome.UNDONE

    def _unchangeable(self, image_id: int, version_id: int, fields: Any = None) -> Outcome | None:
        """Why the image is skipped, or None. With `fields`, only later changes of these count."""
        image = self.images.get(image_id)
        if image is None or image.deleted:
            return Outcome.NOT_FOUND
        if image.locked:
            return Outcome.LOCKED
        later = [version for version in self.changed_later.get(image_id, ()) if version.pk > version_id]
        if any(fields is None or version.before.keys() & fields for version in later):
            return Outcome.CHANGED_SINCE
        return None

    def _unrestorable(self, image_id: int) -> Outcome | None:
        image = self.images.get(image_id)
        if image is not None and (not image.deleted or image.hash in self.in_use):
            return Outcome.SKIPPED_EXISTING
        return None if image_id in self.restorable else Outcome.NOT_FOUND

    def apply(self, job: Job) -> int:
        """Apply the planned changes, and return the change in the number of active images."""
        actor = actor_of(job)
        put_back(self.values, actor)
        if self.delete:
            self._delete(job, actor)
        if self.restore:
            self._restore(actor)
        for deleted, restored in self.exchanged:
            references.follow(deleted, restored, actor)
        for version in self.moved:
            if target := self.images.get(version.derived_id or 0):
                references.follow(target, self.images[version.image_id], actor, only=version.before)
        return len(self.restore) - len(self.delete)

    def _delete(self, job: Job, actor: Actor) -> None:
        tombstone = restorable_tombstone(job.params)
        SourceImage.objects.filter(pk__in=[image.pk for image in self.delete]).update(tombstone=tombstone)
        record_versions(Kind.DELETED, {image: {} for image in self.delete}, actor)
        record_events(actor, "image.deleted", self.delete, tombstone_id=tombstone.pk)

    def _restore(self, actor: Actor) -> None:
        SourceImage.objects.filter(pk__in=[image.pk for image in self.restore]).update(tombstone=None)
        record_versions(Kind.RESTORED, {image: {} for image in self.restore}, actor)
        record_events(actor, "image.restored", self.restore)


PLANS: dict[str, Callable[[Batch, int, Versions], Outcome]] = {
    Kind.CREATED: Batch._plan_deletion,
    Kind.RESTORED: Batch._plan_deletion,
    Kind.DELETED: Batch._plan_restore,
    Kind.REPLACED: Batch._plan_exchange,
}
