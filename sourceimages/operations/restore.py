"""Bringing back from the trash.

An image of which there is an active one stays in the trash: the active one takes over what it lacks, and keeps its own
value where both have one. The other value is in the history of the active image, from where it can be put back, and in
the audit event.
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

# What is compared beside user metadata; the active image always keeps its own value.
COMPARED = ("name", "dynamic_metadata", "protected")


@retry_on_conflict("image_active_hash_unique")
@transaction.atomic
def restore_image(organization: Organization, hash: str, *, deletion: UUID | None = None, actor: Actor) -> SourceImage:
    """The active image of this hash or short hash, brought back from the trash if need be.

    Where there is an active one, it is the answer, with what it lacked of the one that was deleted last; of several in
    the trash, the one that was deleted last comes back. With `deletion`, it is the one that this deletion moved there.
    Raises ImageNotFound, Conflict.
    """
    active, deleted = _get_for_update(organization, hash, deletion)
    if deletion and not deleted:
        raise ImageNotFound(f"There is no image {hash[:80]!r} in the trash of {organization.name!r} by this deletion.")
    if active and deleted:
        merge([(active, deleted)], actor)
    if image := active or (deleted and _restore_row(deleted, actor)):
        return image
    raise ImageNotFound(f"No source image found for {hash[:80]!r} in {organization.name!r}, nor in its trash.")


@retry_on_conflict("image_active_hash_unique")
@transaction.atomic
def restore_by_id(image: SourceImage, *, actor: Actor) -> Outcome:
    """The same for this very image in the trash. Raises ImageNotFound if it is not there, Conflict."""
    active = image.organization.images.active().filter(hash=image.hash).values_list("pk", flat=True).first()
    held = {one.pk: one for one in SourceImage.objects.filter(pk__in=[image.pk, active]).list_for_update()}
    deleted = held.get(image.pk)
    if deleted is None or not SourceImage.objects.in_trash().filter(pk=image.pk).exists():
        raise ImageNotFound(f"No source image found for {image.hash!r} in the trash any more.")
    if active is None:
        _restore_row(deleted, actor)
        return Outcome.RESTORED
    if active not in held or held[active].deleted:
        raise StaleRead
    return merge([(held[active], deleted)], actor)[0]


def merge(
    pairs: Sequence[tuple[SourceImage, SourceImage]], actor: Actor, *, job_id: UUID | None = None
) -> list[Outcome]:
    """Let active images of one organization take over what they lack of their copies in the trash; both are held."""
    merges = [Merge.of(active, deleted) for active, deleted in pairs]
    taking = [one for one in merges if one.outcome in (Outcome.MERGED, Outcome.CONFLICTING) and one.lacking]
    set_user_metadata_many(
        {one.active: metadata.overlay(one.lacking, one.active.user_metadata) for one in taking}, actor
    )
    telling = [one for one in merges if one.outcome is not Outcome.SKIPPED_EXISTING]
    details = {one.active.pk: one.details() for one in telling}
    record_events(actor, "image.restored_into", [one.active for one in telling], details, job_id=job_id)
    versions.record_versions(
        ImageVersion.Kind.RESTORE_CONFLICT,
        {one.active: left for one in telling if (left := one.left())},
        actor,
    )
    return [one.outcome for one in merges]


@dataclass(frozen=True, slots=True)
class Merge:
    """An active image and a copy of it in the trash."""

    active: SourceImage
    deleted: SourceImage
    lacking: dict[str, Any]  # user metadata that the active image gets
    conflicting: dict[str, Any]  # values of the copy that the active image has otherwise
    outcome: Outcome

    @classmethod
    def of(cls, active: SourceImage, deleted: SourceImage) -> Self:
        """Fields of user metadata are the same if their names are, whatever their types."""
        known = {metadata.field_name(key) for key in active.user_metadata}
        lacking = {key: value for key, value in deleted.user_metadata.items() if metadata.field_name(key) not in known}
        shared = {key: value for key, value in deleted.user_metadata.items() if key not in lacking}
        other = {key: value for key, value in shared.items() if active.user_metadata.get(key) != value}
        conflicting: dict[str, Any] = {"user_metadata": other} if other else {}
        for name in COMPARED:
            if getattr(active, name) != getattr(deleted, name):
                conflicting[name] = getattr(deleted, name)
        if not lacking and not conflicting:
            return cls(active, deleted, {}, {}, Outcome.SKIPPED_EXISTING)
        if active.locked:
            return cls(active, deleted, lacking, conflicting, Outcome.LOCKED)
        if _combine(active.user_metadata, lacking) is None:
            conflicting["user_metadata"], lacking = other | lacking, {}
        return cls(active, deleted, lacking, conflicting, Outcome.CONFLICTING if conflicting else Outcome.MERGED)

    def left(self) -> dict[str, Any]:
        """Complete values by field, which put back in the active image give it what it has not taken over."""
        values = {name: getattr(self.deleted, name) for name in self.conflicting}
        if "user_metadata" in self.conflicting or (self.lacking and self.outcome is Outcome.LOCKED):
            theirs = self.deleted.user_metadata
            values["user_metadata"] = _combine(self.active.user_metadata, theirs) or theirs
        return values

    def details(self) -> dict[str, Any]:
        """What the audit trail keeps of it."""
        name = "skipped" if self.outcome is Outcome.LOCKED else "restored"
        origin = {"id": self.deleted.pk, "created": self.deleted.created.isoformat()}
        return {"from": origin, name: self.lacking, "conflicting": self.conflicting}


def _combine(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any] | None:
    """User metadata of both, of which `later` wins; None if those would be too many fields."""
    try:
        return metadata.apply_changes(earlier, later)
    except InvalidMetadata:
        return None


def _get_for_update(
    organization: Organization, hash: str, deletion: UUID | None
) -> tuple[SourceImage | None, SourceImage | None]:
    """The active image, and the one that was deleted last, or by this deletion, locked. Raises Overtaken."""
    for binary_hash in {image["binary_hash"] for image in _find(organization, hash)}:
        lock_file(organization, binary_hash)  # deletions and restores of the same file wait for each other
    found = _find(organization, hash)
    active = next((image["id"] for image in found if image["tombstone__deleted_at"] is None), 0)
    in_trash = [
        (image["tombstone__deleted_at"], image["id"])
        for image in found
        if image["tombstone__deleted_at"] and deletion in (None, image["tombstone"])
    ]
    _, deleted = max(in_trash, default=(None, 0))
    held = {one.pk: one for one in SourceImage.objects.filter(pk__in=[active, deleted]).list_for_update()}
    for pk, is_deleted in ((active, False), (deleted, True)):
        if pk and (pk not in held or held[pk].deleted != is_deleted):
            raise StaleRead
    if deletion and deleted and held[deleted].tombstone_id != deletion:
        raise StaleRead
    return held.get(active), held.get(deleted)


def _find(organization: Organization, hash: str) -> list[dict[str, Any]]:
    """Active and deleted images by one query: between two, one that is deleted or restored would be in neither."""
    columns = "id", "binary_hash", "tombstone", "tombstone__deleted_at"
    named = organization.images.by_hash(hash)
    return list(named.active().values(*columns).union(named.in_trash().values(*columns)))


def _restore_row(image: SourceImage, actor: Actor) -> SourceImage:
    tombstone, image.tombstone = image.tombstone, None
    image.save(update_fields=["tombstone"])
    counters.add(image.organization, images=1)
    record_event(actor, "image.restored", image, tombstone)
    return image
