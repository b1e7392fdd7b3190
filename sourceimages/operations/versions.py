"""Restoring versions of images. That is a change too, which records another version."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from organizations.audit import Actor
from sourceimages import versions
from sourceimages.errors import VersionNotFound, VersionNotRestorable
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations.aliases import set_alias
from sourceimages.operations.delete import check_not_locked, get_for_update, record_events
from sourceimages.search import indexing


@transaction.atomic
def restore_version(image: SourceImage, version_id: int, *, actor: Actor) -> SourceImage:
    """Set the values of this version on the image; other fields don't change.

    Raises VersionNotFound, VersionNotRestorable for a version without values, ImageLocked.
    """
    image = get_for_update(image)
    version = ImageVersion.objects.filter(image_id=image.pk, pk=version_id).first()
    if version is None:
        raise VersionNotFound(f"Version {version_id} of image {image.short_hash} not found.")
    alias, values = version.before.get("alias"), versions.values_of(version)
    if not alias and not values:
        raise VersionNotRestorable(f"Version {version_id} can't be restored: it only records {version.kind!r}.")
    check_not_locked(image)
    if alias:
        set_alias(image, alias, overwrite=True, actor=actor)
    put_back({image: values}, actor)
    return image


def put_back(values_by_image: Mapping[SourceImage, Mapping[str, Any]], actor: Actor) -> None:
    """Set these values, by field, on images of one organization, which are selected for update and not locked."""
    replaced = {image: versions.set_values(image, values) for image, values in values_by_image.items()}
    replaced = {image: before for image, before in replaced.items() if before}
    if not replaced:
        return
    fields = {name for before in replaced.values() for name in before}
    SourceImage.objects.bulk_update(replaced, sorted(fields | {"identity"}))
    indexing.replace(list(replaced))
    versions.record_versions(ImageVersion.Kind.VERSION_RESTORED, replaced, actor)
    details = {
        image.pk: {"before": versions.to_json(before), "after": versions.to_json(values_by_image[image])}
        for image, before in replaced.items()
    }
    record_events(actor, "image.version_restored", list(replaced), details)
