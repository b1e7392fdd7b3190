"""Restoring images from the trash.

If there is an active image with the same hash, the deleted one stays in the trash and is merged: metadata fields that
the active image lacks are added to it; where values conflict, the active image keeps its own. The other value is in the
history of the active image, from where it can be restored, and in the audit event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from django.db import transaction

from organizations.audit import Actor
from organizations.models import Organization
from organizations.usage import counters
from rokka.core.database import StaleRead, retry_on_conflict
from sourceimages import metadata, versions
from sourceimages.errors import ImageNotFound, InvalidMetadata
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations.delete import lock_file, record_event, record_events
from sourceimages.operations.update import set_user_metadata_many
from sourceimages.outcomes import Outcome

# Fields that are compared in addition to user metadata; the active image always keeps its own value.
COMPARED_FIELDS = ("name", "dynamic_metadata", "protected")


@retry_on_conflict("image_active_hash_unique")
@transaction.atomic
def restore_image(organization: Organization, hash: str, *, deletion: UUID | None = None, actor: Actor) -> SourceImage:
    """Restore the image with this hash or short hash; return the active image.

    The image that was deleted last is restored, or with `deletion` the one of this deletion. If there is an active
    image already, it is returned after a merge. Raises ImageNotFound, Conflict.
    """
    active, deleted = _get_for_update(organization, hash, deletion)
    if deletion and not deleted:
        raise ImageNotFound(f"No source image found for {hash[:80]!r} in this deletion of {organization.name!r}.")
    if active and deleted:
        merge([(active, deleted)], actor)
    if image := active or (deleted and _restore_row(deleted, actor)):
        return image
    raise ImageNotFound(f"No source image found for {hash[:80]!r} in {organization.name!r} or its trash.")


@retry_on_conflict("image_active_hash_unique")
@transaction.atomic
def restore_by_id(image: SourceImage, *, actor: Actor) -> Outcome:
    """Restore this row, or merge it into the active image with its hash. Raises ImageNotFound, Conflict."""
    active = image.organization.images.active().filter(hash=image.hash).values_list("pk", flat=True).first()
    rows = {row.pk: row for row in SourceImage.objects.filter(pk__in=[image.pk, active]).list_for_update()}
    deleted = rows.get(image.pk)
    if deleted is None or not SourceImage.objects.in_trash().filter(pk=image.pk).exists():
        raise ImageNotFound(f"No source image found for {image.hash!r} in the trash.")
    if active is None:
        _restore_row(deleted, actor)
        return Outcome.RESTORED
    if active not in rows or rows[active].deleted:
        raise StaleRead
    return merge([(rows[active], deleted)], actor)[0]


def merge(
    pairs: Sequence[tuple[SourceImage, SourceImage]], actor: Actor, *, job_id: UUID | None = None
) -> list[Outcome]:
    """Merge deleted images into active ones of one organization; pairs of both, all selected for update."""
    merges = [Merge.of(active, deleted) for active, deleted in pairs]
    changing = [one for one in merges if one.outcome in (Outcome.MERGED, Outcome.CONFLICTING) and one.lacking]
    set_user_metadata_many(
        {one.active: metadata.overlay(one.lacking, one.active.user_metadata) for one in changing}, actor
    )
    recorded = [one for one in merges if one.outcome is not Outcome.SKIPPED_EXISTING]
    details = {one.active.pk: one.details() for one in recorded}
    record_events(actor, "image.restored_into", [one.active for one in recorded], details, job_id=job_id)
    versions.record_versions(
        ImageVersion.Kind.RESTORE_CONFLICT,
        {one.active: values for one in recorded if (values := one.skipped_values())},
        actor,
    )
    return [one.outcome for one in merges]


@dataclass(frozen=True, slots=True)
class Merge:
    """The comparison of an active image and a deleted one with the same hash."""

    active: SourceImage
    deleted: SourceImage
    lacking: dict[str, Any]  # user metadata that is added to the active image, unless it is locked
    conflicting: dict[str, Any]  # values of the deleted image that differ
    outcome: Outcome

    @classmethod
    def of(cls, active: SourceImage, deleted: SourceImage) -> Self:
        """Compare the images. User metadata fields with the same name count as the same, whatever their types."""
        known = {metadata.field_name(key) for key in active.user_metadata}
        lacking = {key: value for key, value in deleted.user_metadata.items() if metadata.field_name(key) not in known}
        shared = {key: value for key, value in deleted.user_metadata.items() if key not in lacking}
        other = {key: value for key, value in shared.items() if active.user_metadata.get(key) != value}
        conflicting: dict[str, Any] = {"user_metadata": other} if other else {}
        for name in COMPARED_FIELDS:
            if getattr(active, name) != getattr(deleted, name):
                conflicting[name] = getattr(deleted, name)
        if not lacking and not conflicting:
            return cls(active, deleted, {}, {}, Outcome.SKIPPED_EXISTING)
        if active.locked:
            return cls(active, deleted, lacking, conflicting, Outcome.LOCKED)
        if _combine(active.user_metadata, lacking) is None:
            conflicting["user_metadata"], lacking = other | lacking, {}
        return cls(active, deleted, lacking, conflicting, Outcome.CONFLICTING if conflicting else Outcome.MERGED)

    def skipped_values(self) -> dict[str, Any]:
        """Complete values by field, for a version that gives the active image what was not merged."""
        values = {name: getattr(self.deleted, name) for name in self.conflicting}
        if "user_metadata" in self.conflicting or (self.lacking and self.outcome is Outcome.LOCKED):
            deleted = self.deleted.user_metadata
            values["user_metadata"] = _combine(self.active.user_metadata, deleted) or deleted
        return values

    def details(self) -> dict[str, Any]:
        """Details for the audit log."""
        name = "skipped" if self.outcome is Outcome.LOCKED else "restored"
        origin = {"id": self.deleted.pk, "created": self.deleted.created.isoformat()}
        return {"from": origin, name: self.lacking, "conflicting": self.conflicting}


def _combine(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any] | None:
    """User metadata of both, `later` wins; None if that exceeds the limit of fields."""
    try:
        return metadata.apply_changes(earlier, later)
    except InvalidMetadata:
        return None


def _get_for_update(
    organization: Organization, hash: str, deletion: UUID | None
) -> tuple[SourceImage | None, SourceImage | None]:
    """The active image, and the one that was deleted last or by this deletion, both locked. Raises StaleRead."""
    for binary_hash in {image["binary_hash"] for image in _find(organization, hash)}:
        lock_file(organization, binary_hash)  # serializes deletions and restores of the same file
    images = _find(organization, hash)
    active = next((image["id"] for image in images if image["tombstone__deleted_at"] is None), 0)
    in_trash = [
        (image["tombstone__deleted_at"], image["id"])
        for image in images
        if image["tombstone__deleted_at"] and deletion in (None, image["tombstone"])
    ]
    _, deleted = max(in_trash, default=(None, 0))
    rows = {row.pk: row for row in SourceImage.objects.filter(pk__in=[active, deleted]).list_for_update()}
    for pk, is_deleted in ((active, False), (deleted, True)):
        if pk and (pk not in rows or rows[pk].deleted != is_deleted):
            raise StaleRead
    if deletion and deleted and rows[deleted].tombstone_id != deletion:
        raise StaleRead
    return rows.get(active), rows.get(deleted)


def _find(organization: Organization, hash: str) -> list[dict[str, Any]]:
    """Active and deleted images in one query: two would both miss an image that is deleted or restored in between."""
    columns = "id", "binary_hash", "tombstone", "tombstone__deleted_at"
    images = organization.images.by_hash(hash)
    return list(images.active().values(*columns).union(images.in_trash().values(*columns)))


def _restore_row(image: SourceImage, actor: Actor) -> SourceImage:
    tombstone, image.tombstone = image.tombstone, None
    image.save(update_fields=["tombstone"])
    counters.add(image.organization, images=1)
    record_event(actor, "image.restored", image, tombstone)
    return image
