"""Deleting images. A deleted image refers to a tombstone; image and file are purged after that expires."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from organizations.audit import Actor, event_of, record
from organizations.models import AuditEvent, Organization
from organizations.usage import counters
from rokka.core.clock import database_now
from sourceimages import hot_path
from sourceimages.errors import ImageLocked, ImageNotFound, JobInProgress
from sourceimages.models import SourceImage, Tombstone


def delete_image(image: SourceImage, *, reason: Tombstone.Reason = Tombstone.Reason.API, actor: Actor) -> Tombstone:
    """Move the image to the trash. Raises ImageLocked; ImageNotFound if it is in the trash already."""
    tombstone = Tombstone(organization=image.organization, deleted_by=actor.user, reason=reason)
    event = image_event(actor, "image.deleted", image, tombstone_id=tombstone.pk)
    if hot_path.delete_image(image, tombstone, event):
        return tombstone
    return _lock_and_delete(image, reason, actor)


@transaction.atomic
def _lock_and_delete(image: SourceImage, reason: Tombstone.Reason, actor: Actor) -> Tombstone:
    image = get_for_update(image)
    check_not_locked(image)
    tombstone = move_to_trash([image], reason, actor)
    counters.add(image.organization, images=-1)
    return tombstone


@transaction.atomic
def delete_by_binary_hash(organization: Organization, binary_hash: str, *, actor: Actor) -> Tombstone:
    """Move all images of this file to the trash, or none. Raises ImageLocked, ImageNotFound."""
    lock_file(organization, binary_hash)
    images = organization.images.active().by_binary_hash(binary_hash).list_for_update()
    if not images:
        raise ImageNotFound(f"No source image found for the binary hash {binary_hash[:80]!r} in {organization.name!r}.")
    for image in images:
        check_not_locked(image)
    tombstone = move_to_trash(images, Tombstone.Reason.BINARY_HASH, actor)
    counters.add(organization, images=-len(images))
    return tombstone


@transaction.atomic
def expire_tombstone(tombstone: Tombstone, *, actor: Actor) -> None:
    """Expire the deletion now: its images can no longer be restored, and the next purge deletes them permanently.

    Raises JobInProgress while a job restores it.
    """
    tombstone = Tombstone.objects.select_for_update(of=("self",)).select_related("organization").get(pk=tombstone.pk)
    if Tombstone.objects.being_restored().filter(pk=tombstone.pk).exists():
        raise JobInProgress("This deletion is being restored. Cancel the job first.")
    before, tombstone.expires_at = tombstone.expires_at, min(tombstone.expires_at, database_now())
    tombstone.purge_confirmed = True
    tombstone.save(update_fields=["expires_at", "purge_confirmed"])
    record(
        actor,
        "deletion.expired",
        organization=tombstone.organization,
        target=tombstone.reason,
        target_id=tombstone.pk,
        count=tombstone.images.count(),
        tombstone_id=tombstone.pk,
        before=f"{before:%Y-%m-%dT%H:%M:%SZ}",
    )


def create_tombstone(organization: Organization, reason: Tombstone.Reason, actor: Actor) -> Tombstone:
    """A new deletion, which expires after TRASH_RETENTION_DAYS by the database's clock."""
    now = database_now()
    return Tombstone.objects.create(
        organization=organization,
        deleted_at=now,
        expires_at=now + timedelta(days=settings.TRASH_RETENTION_DAYS),
        deleted_by=actor.user,
        reason=reason,
    )


def get_for_update(image: SourceImage) -> SourceImage:
    """The current row of an active image, locked until the transaction ends. Raises ImageNotFound."""
    try:
        return SourceImage.objects.active().select_related("organization", "file").get_for_update(image)
    except SourceImage.DoesNotExist as error:
        raise ImageNotFound(f"No source image found for {image.hash!r}. It was deleted.") from error


def check_not_locked(image: SourceImage) -> None:
    """Raises ImageLocked."""
    if image.locked:
        raise ImageLocked(f"Source image {image.short_hash} is locked. Locked images can't be deleted or changed.")


def lock_file(organization: Organization, binary_hash: str) -> None:
    """Serialize transactions that read all images of a file and then change some of them."""
    list(organization.files.filter(binary_hash=binary_hash).select_for_update(no_key=True))


def move_to_trash(images: list[SourceImage], reason: Tombstone.Reason, actor: Actor) -> Tombstone:
    """Move images of one organization, all selected for update, to the trash by one deletion.

    The caller updates the counters.
    """
    tombstone = create_tombstone(images[0].organization, reason, actor)
    SourceImage.objects.filter(pk__in=[image.pk for image in images]).update(tombstone=tombstone)
    record_events(actor, "image.deleted", images, tombstone_id=tombstone.pk)
    return tombstone


def record_events(
    actor: Actor,
    action: str,
    images: Sequence[SourceImage],
    details: Mapping[int, dict[str, Any]] = MappingProxyType({}),
    *,
    tombstone_id: UUID | None = None,
    job_id: UUID | None = None,
) -> None:
    """Record an audit event for each of the images; `details` are by their IDs."""
    AuditEvent.objects.bulk_create(
        image_event(
            actor,
            action,
            image,
            tombstone_id=tombstone_id,
            job_id=job_id or actor.job_id,
            details=details.get(image.pk, {}),
        )
        for image in images
    )


def image_event(actor: Actor, action: str, image: SourceImage, **fields: Any) -> AuditEvent:
    """Build an unsaved event about the image. `fields` are fields of the model."""
    return event_of(
        actor, action, organization=image.organization, target=image.hash, target_id=str(image.pk or ""), **fields
    )


def record_event(
    actor: Actor, action: str, image: SourceImage, tombstone: Tombstone | None = None, **details: Any
) -> None:
    """Record an audit event for the image."""
    record(
        actor,
        action,
        organization=image.organization,
        target=image.hash,
        target_id=image.pk,
        tombstone_id=tombstone.pk if tombstone else None,
        **details,
    )
