"""What may be changed about a picture: its lock, its name, its user metadata, and whether it is protected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from organizations.audit import Actor
from organizations.usage import counters
from rokka.core.database import retry_on_conflict
from sourceimages import hashes, metadata, versions
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS
from sourceimages.models import ImageVersion, SourceImage, Tombstone
from sourceimages.operations.delete import (
    check_not_locked,
    get_for_update,
    lock_file,
    move_to_trash,
    record_event,
    record_events,
)
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.search import indexing
from sourceimages.uploads.filename import clean_filename

Kind = ImageVersion.Kind


@transaction.atomic
def set_locked(image: SourceImage, locked: bool, *, actor: Actor) -> SourceImage:
    """Lock the picture against deletion and changes, or unlock it."""
    image = get_for_update(image)
    set_locked_many([image], locked, actor)
    return image


def set_locked_many(images: Sequence[SourceImage], locked: bool, actor: Actor) -> set[SourceImage]:
    """Lock pictures of one organization, which are held, or unlock them; answers those that changed."""
    changed = [image for image in images if image.locked != locked]
    SourceImage.objects.filter(pk__in=[image.pk for image in changed]).update(locked=locked)
    for image in changed:
        image.locked = locked
    record_events(actor, "image.locked" if locked else "image.unlocked", changed)
    return set(changed)


@transaction.atomic
def rename_image(image: SourceImage, name: str, *, actor: Actor) -> SourceImage:
    """Give the picture another name, also a locked one. Raises InvalidName."""
    name = clean_filename(name)
    image = get_for_update(image)
    if image.name != name:
        before, image.name = image.name, name
        image.save(update_fields=["name"])
        indexing.replace([image])
        versions.record_versions(Kind.RENAMED, {image: {"name": before}}, actor)
        record_event(actor, "image.renamed", image, before=before, after=name)
    return image


@transaction.atomic
def change_user_metadata(image: SourceImage, changes: Mapping[str, Any], *, actor: Actor) -> SourceImage:
    """Set the fields that are mentioned, in stored form, and remove those of None. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    set_user_metadata_many({image: metadata.apply_changes(image.user_metadata, changes)}, actor)
    return image


@transaction.atomic
def replace_user_metadata(image: SourceImage, fields: Mapping[str, Any], *, actor: Actor) -> SourceImage:
    """These fields, in stored form, and no others. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    set_user_metadata_many({image: metadata.apply_changes({}, fields)}, actor)
    return image


def set_user_metadata_many(wanted: Mapping[SourceImage, dict[str, Any]], actor: Actor) -> set[SourceImage]:
    """Give pictures of one organization, which are held and not locked, these fields; answers those that changed."""
    changed = [image for image, after in wanted.items() if after != image.user_metadata]
    details, replaced = {}, {}
    for image in changed:
        before, after = image.user_metadata, wanted[image]
        replaced[image] = {"user_metadata": before}
        details[image.pk] = {
            "before": {key: value for key, value in before.items() if after.get(key) != value},
            "after": {key: value for key, value in after.items() if before.get(key) != value},
        }
        image.user_metadata = after
    SourceImage.objects.bulk_update(changed, ["user_metadata"])
    indexing.replace(changed)
    versions.record_versions(Kind.METADATA_UPDATED, replaced, actor)
    record_events(actor, "image.metadata_updated", changed, details)
    return set(changed)


# --- Changes that give another hash ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HashChange:
    """The picture with the other hash; `changed` is false where the hash stayed."""

    image: SourceImage
    changed: bool


def set_protected(image: SourceImage, protected: bool, *, delete_previous: bool, actor: Actor) -> HashChange:
    """The picture of the same content, protected or not. Raises ImageLocked if the locked one were to be deleted."""
    return derive(image, {}, protected=protected, delete_previous=delete_previous, actor=actor)


def change_dynamic_metadata(
    image: SourceImage, changes: Mapping[str, Any], *, delete_previous: bool, actor: Actor
) -> HashChange:
    """The picture with these entries set, in stored form, and without those of None. Raises ImageLocked as above."""
    return derive(image, changes, protected=None, delete_previous=delete_previous, actor=actor)


@transaction.atomic
def update_in_place(image: SourceImage, changes: Mapping[str, Any], *, actor: Actor) -> SourceImage:
    """Change the entries of the picture itself, which keeps the hash that says otherwise. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    after = _merge(image.dynamic_metadata, changes)
    return image if after == image.dynamic_metadata else _changed(image, after, image.protected, actor)


def _changed(image: SourceImage, dynamic_metadata: dict[str, Any], protected: bool, actor: Actor) -> SourceImage:
    """The picture itself with other properties, which its hash may not say."""
    before = image.dynamic_metadata
    replaced = versions.set_values(image, {"dynamic_metadata": dynamic_metadata, "protected": protected})
    image.save(update_fields=["dynamic_metadata", "protected", "identity"])
    indexing.replace([image])
    versions.record_versions(Kind.DYNAMIC_METADATA_UPDATED, {image: replaced}, actor)
    record_event(actor, "image.dynamic_metadata_updated", image, before=before, after=dynamic_metadata)
    return image


def _merge(entries: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**entries, **changes}.items() if value is not None}


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE])
@transaction.atomic
def derive(
    image: SourceImage, changes: Mapping[str, Any], *, protected: bool | None, delete_previous: bool, actor: Actor
) -> HashChange:
    """The picture of the same bytes with these changes of what is part of its hash; None leaves protection alone.

    A living one is used as it is; otherwise it is made of the current one, with its name, age and user metadata, and
    without its lock. `delete_previous` deletes the current one, if the hash really changed.
    """
    # All pictures of these bytes: two that replace each other at once must not both be gone in the end.
    lock_file(image.organization, image.binary_hash)
    same_bytes = image.organization.images.active().by_binary_hash(image.binary_hash).list_for_update()
    image = next((one for one in same_bytes if one.pk == image.pk), None) or get_for_update(image)
    dynamic_metadata = _merge(image.dynamic_metadata, changes)
    protected = image.protected if protected is None else protected
    if (image.dynamic_metadata, image.protected) == (dynamic_metadata, protected):
        return HashChange(image, changed=False)
    identity = hashes.identity(image.binary_hash, dynamic_metadata, protected=protected)
    if delete_previous:
        check_not_locked(image)
    if identity == image.hash:  # its hash was kept when it was changed before: now it says the truth again
        check_not_locked(image)
        return HashChange(_changed(image, dynamic_metadata, protected, actor), changed=False)
    there = image.organization.images.active().same_content(identity).order_by("id").first()
    target = there or _clone(image, identity, dynamic_metadata, protected)
    if there is None:
        record_event(actor, "image.variant_created", target, before=image.hash)
    if delete_previous:
        move_to_trash([image], Tombstone.Reason.REPLACED, actor)
        if actor.job_id:
            versions.record_versions(Kind.REPLACED, {image: {}}, actor, derived={} if there else {image: target.pk})
    # In one go: whoever changes two slots in one transaction may deadlock with another who does.
    counters.add(image.organization, images=int(there is None) - int(delete_previous))
    return HashChange(target, changed=True)


def _clone(image: SourceImage, identity: str, dynamic_metadata: dict[str, Any], protected: bool) -> SourceImage:
    made = SourceImage(
        hash=identity,
        identity=identity,
        short_hash=assign_short_hashes(image.organization, [identity])[identity],
        dynamic_metadata=dynamic_metadata,
        protected=protected,
    )
    for field in SHARED_FIELDS:
        setattr(made, field, getattr(image, field))
    made.save(force_insert=True)
    indexing.add([made])
    return made


# What pictures of the same bytes share when one is made of the other.
SHARED_FIELDS = (
    "organization",
    "file",
    "name",
    "created",
    "user_metadata",
    "binary_hash",
    "size",
    "format",
    "mimetype",
    "width",
    "height",
)
