"""Deleting. A deleted image points to a tombstone; its file stays until that expires. For the way back see restore."""

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
from sourceimages.errors import ImageLocked, ImageNotFound, JobInProgress
from sourceimages.models import SourceImage, Tombstone


@transaction.atomic
def delete_image(image: SourceImage, *, reason: Tombstone.Reason = Tombstone.Reason.API, actor: Actor) -> Tombstone:
    """Move the picture to the trash. Raises ImageLocked; ImageNotFound if it is there already."""
    image = get_for_update(image)
    check_not_locked(image)
    tombstone = move_to_trash([image], reason, actor)
    counters.add(image.organization, images=-1)
    return tombstone


@transaction.atomic
def delete_by_binary_hash(organization: Organization, binary_hash: str, *, actor: Actor) -> Tombstone:
    """Move all pictures made of these bytes to the trash, or none. Raises ImageLocked, ImageNotFound."""
    lock_file(organization, binary_hash)
    found = organization.images.active().by_binary_hash(binary_hash).list_for_update()
    if not found:
        raise ImageNotFound(f"No source image found for the binary hash {binary_hash[:80]!r} in {organization.name!r}.")
    for image in found:
        check_not_locked(image)
    tombstone = move_to_trash(found, Tombstone.Reason.BINARY_HASH, actor)
    counters.add(organization, images=-len(found))
    return tombstone


@transaction.atomic
def expire_tombstone(tombstone: Tombstone, *, actor: Actor) -> None:
    """Let the next purge take what lies under it, before its time: from now on it cannot be brought back.

    Raises JobUnderWay while a job restores it.
    """
    tombstone = Tombstone.objects.select_for_update(of=("self",)).select_related("organization").get(pk=tombstone.pk)
    if Tombstone.objects.being_restored().filter(pk=tombstone.pk).exists():
        raise JobInProgress("This deletion is being restored. Cancel that job first.")
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
    """One act of deleting, which expires in TRASH_RETENTION_DAYS by the database's clock."""
    now = database_now()
    return Tombstone.objects.create(
        organization=organization,
        deleted_at=now,
        expires_at=now + timedelta(days=settings.TRASH_RETENTION_DAYS),
        deleted_by=actor.user,
        reason=reason,
    )


def get_for_update(image: SourceImage) -> SourceImage:
    """The living picture as it is now, locked until the transaction ends. Raises ImageNotFound."""
    try:
        return SourceImage.objects.active().select_related("organization", "file").get_for_update(image)
    except SourceImage.DoesNotExist as error:
        raise ImageNotFound(f"No source image found for {image.hash!r} any more.") from error


def check_not_locked(image: SourceImage) -> None:
    if image.locked:
        raise ImageLocked(f"Source image {image.short_hash} is locked: it can be neither deleted nor changed.")


def lock_file(organization: Organization, binary_hash: str) -> None:
    """Wait for everybody else who is about to look at all pictures of these bytes, and then change some."""
    list(organization.files.filter(binary_hash=binary_hash).select_for_update(no_key=True))


def move_to_trash(images: list[SourceImage], reason: Tombstone.Reason, actor: Actor) -> Tombstone:
    """Move pictures of one organization, which are held, to the trash by one act. The caller counts them down."""
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
    """Write down what was done to many pictures at once; `details` by their ids."""
    AuditEvent.objects.bulk_create(
        event_of(
            actor,
            action,
            organization=image.organization,
            target=image.hash,
            target_id=str(image.pk),
            tombstone_id=tombstone_id,
            job_id=job_id or actor.job_id,
            details=details.get(image.pk, {}),
        )
        for image in images
    )


def record_event(
    actor: Actor, action: str, image: SourceImage, tombstone: Tombstone | None = None, **details: Any
) -> None:
    """Write down what was done to one picture."""
    record(
        actor,
        action,
        organization=image.organization,
        target=image.hash,
        target_id=image.pk,
        tombstone_id=tombstone.pk if tombstone else None,
        **details,
    )
