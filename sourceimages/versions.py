"""Versions of images, recorded in the transaction that changes them.

Code that replaces a value calls `record_versions`, or lets the database write the rows as `bulk_sql` does.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from organizations.audit import Actor
from sourceimages import hashes
from sourceimages.models import ImageVersion, SourceImage

# The fields that versions have. Not the lock: it can be undone by unlocking, and the audit log has each image.
FIELDS = ("name", "created", "user_metadata", "dynamic_metadata", "protected")
Values = Mapping[str, Any]  # by field


def record_versions(
    kind: ImageVersion.Kind,
    before: Mapping[SourceImage, Values],
    actor: Actor,
    *,
    derived: Mapping[SourceImage, int] = MappingProxyType({}),
) -> None:
    """Record the replaced values of images, all locked; `derived` has the IDs of new images created from them."""
    ImageVersion.objects.bulk_create(
        version_of(image, kind, values, actor, derived_id=derived.get(image)) for image, values in before.items()
    )


def version_of(
    image: SourceImage, kind: ImageVersion.Kind, before: Values, actor: Actor, *, derived_id: int | None = None
) -> ImageVersion:
    """Build an unsaved version."""
    return ImageVersion(
        organization_id=image.organization_id,
        image_id=image.pk,
        hash=image.hash,
        kind=kind,
        before=to_json(before),
        derived_id=derived_id,
        source=actor.source,
        user=actor.user,
        api_key_id=actor.api_key_id,
        job_id=actor.job_id,
    )


def set_values(image: SourceImage, values: Values) -> dict[str, Any]:
    """Set these values on the image, without saving it; return the values that they replace.

    The identity is updated. The hash stays the same, as with `keepHash`, as clients know the image by it.
    """
    replaced = {name: getattr(image, name) for name, value in values.items() if getattr(image, name) != value}
    for name in replaced:
        setattr(image, name, values[name])
    image.identity = hashes.identity(image.binary_hash, image.dynamic_metadata, protected=image.protected)
    return replaced


def values_of(version: ImageVersion) -> dict[str, Any]:
    """The replaced values, parsed from JSON."""
    return {name: FROM_JSON.get(name, _unchanged)(version.before[name]) for name in FIELDS if name in version.before}


def to_json(values: Values) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _parse_datetime(text: str) -> datetime:
    """Versions that SQLite has written in bulk_sql have no time zone: they are in UTC."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _unchanged(value: Any) -> Any:
    return value


FROM_JSON: dict[str, Callable[[Any], Any]] = {"created": _parse_datetime}
