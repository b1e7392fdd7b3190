"""Changes of images: lock, name, user metadata, dynamic metadata and protection."""

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
from sourceimages.references import follow
from sourceimages.search import indexing
from sourceimages.uploads.filename import clean_filename

Kind = ImageVersion.Kind


@transaction.atomic
def set_locked(image: SourceImage, locked: bool, *, actor: Actor) -> SourceImage:
    """Lock the image against deletion and changes, or unlock it. Raises ImageNotFound."""
    image = get_for_update(image)
    set_locked_many([image], locked, actor)
    return image


def set_locked_many(images: Sequence[SourceImage], locked: bool, actor: Actor) -> set[SourceImage]:
    """Lock or unlock images of one organization, all selected for update; return those that changed."""
    changed = [image for image in images if image.locked != locked]
    SourceImage.objects.filter(pk__in=[image.pk for image in changed]).update(locked=locked)
    for image in changed:
        image.locked = locked
    record_events(actor, "image.locked" if locked else "image.unlocked", changed)
    return set(changed)


@transaction.atomic
def rename_image(image: SourceImage, name: str, *, actor: Actor) -> SourceImage:
    """Rename the image, even if it is locked. Raises InvalidName."""
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
    """Set these fields, given in stored form; None removes a field. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    set_user_metadata_many({image: metadata.apply_changes(image.user_metadata, changes)}, actor)
    return image


@transaction.atomic
def replace_user_metadata(image: SourceImage, fields: Mapping[str, Any], *, actor: Actor) -> SourceImage:
    """Set these fields, given in stored form, and remove all others. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    set_user_metadata_many({image: metadata.apply_changes({}, fields)}, actor)
    return image


def set_user_metadata_many(metadata_by_image: Mapping[SourceImage, dict[str, Any]], actor: Actor) -> set[SourceImage]:
    """Replace the user metadata of images of one organization, which are selected for update and not locked.

    Returns those that changed.
    """
    changed = [image for image, after in metadata_by_image.items() if after != image.user_metadata]
    details, replaced = {}, {}
    for image in changed:
        before, after = image.user_metadata, metadata_by_image[image]
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


# --- Changes of the hash --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HashChange:
    """The image with the new hash; `changed` is false if the hash did not change."""

    image: SourceImage
    changed: bool


def set_protected(image: SourceImage, protected: bool, *, delete_previous: bool, actor: Actor) -> HashChange:
    """The image of the same content with this protection, created if necessary.

    `delete_previous` moves the current one to the trash. Raises ImageLocked if that is locked.
    """
    return derive(image, {}, protected=protected, delete_previous=delete_previous, actor=actor)


def change_dynamic_metadata(
    image: SourceImage, changes: Mapping[str, Any], *, delete_previous: bool, actor: Actor
) -> HashChange:
    """The image with these entries, given in stored form; None removes one. Created if necessary.

    `delete_previous` moves the current one to the trash. Raises ImageLocked if that is locked.
    """
    return derive(image, changes, protected=None, delete_previous=delete_previous, actor=actor)


@transaction.atomic
def update_in_place(image: SourceImage, changes: Mapping[str, Any], *, actor: Actor) -> SourceImage:
    """Change the entries of the image without changing its hash. Raises ImageLocked."""
    image = get_for_update(image)
    check_not_locked(image)
    after = _merge(image.dynamic_metadata, changes)
    return image if after == image.dynamic_metadata else _update(image, after, image.protected, actor)


def _update(image: SourceImage, dynamic_metadata: dict[str, Any], protected: bool, actor: Actor) -> SourceImage:
    """Change properties of the image without changing its hash."""
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
    """The image of the same file with these changes to its dynamic metadata and protection (None: not changed).

    An active one is returned unchanged. Otherwise it is created from the current image, with its name, creation time
    and user metadata, but not its lock. `delete_previous` moves the current image to the trash if the hash changed;
    aliases and other references follow to the new hash.
    """
    # Lock all images of the file: two that replace each other concurrently must not both end up in the trash.
    lock_file(image.organization, image.binary_hash)
    same_file = image.organization.images.active().by_binary_hash(image.binary_hash).list_for_update()
    image = next((one for one in same_file if one.pk == image.pk), None) or get_for_update(image)
    dynamic_metadata = _merge(image.dynamic_metadata, changes)
    protected = image.protected if protected is None else protected
    if (image.dynamic_metadata, image.protected) == (dynamic_metadata, protected):
        return HashChange(image, changed=False)
    identity = hashes.identity(image.binary_hash, dynamic_metadata, protected=protected)
    if delete_previous:
        check_not_locked(image)
    if identity == image.hash:  # an earlier change kept the hash: now the image matches it again
        check_not_locked(image)
        return HashChange(_update(image, dynamic_metadata, protected, actor), changed=False)
    existing = image.organization.images.active().same_content(identity).order_by("id").first()
    target = existing or _clone(image, identity, dynamic_metadata, protected)
    if existing is None:
        record_event(actor, "image.variant_created", target, before=image.hash)
    if delete_previous:
        move_to_trash([image], Tombstone.Reason.REPLACED, actor)
        if actor.job_id:
            versions.record_versions(Kind.REPLACED, {image: {}}, actor, derived={} if existing else {image: target.pk})
        follow(image, target, actor)
    # Update the counter once: transactions that update two of its slots may deadlock.
    counters.add(image.organization, images=int(existing is None) - int(delete_previous))
    return HashChange(target, changed=True)


def _clone(image: SourceImage, identity: str, dynamic_metadata: dict[str, Any], protected: bool) -> SourceImage:
    clone = SourceImage(
        hash=identity,
        identity=identity,
        short_hash=assign_short_hashes(image.organization, [identity])[identity],
        dynamic_metadata=dynamic_metadata,
        protected=protected,
    )
    for field in SHARED_FIELDS:
        setattr(clone, field, getattr(image, field))
    clone.save(force_insert=True)
    indexing.add([clone])
    return clone


# Fields that an image takes from the one that it is created from.
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
