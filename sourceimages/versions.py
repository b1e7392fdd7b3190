"""What images were before they were changed, written in the transaction that changes them.

Whatever replaces a value calls `keep`, or has the database write the rows as `copyrows` does.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from organizations.audit import Actor
from sourceimages import hashes
from sourceimages.models import ImageVersion, SourceImage

# What is kept of an image. The lock is not: unlocking undoes locking, and the audit log names each image.
FIELDS = ("name", "created", "user_metadata", "dynamic_metadata", "protected")
Values = Mapping[str, Any]  # by field


def record_versions(
    kind: ImageVersion.Kind,
    before: Mapping[SourceImage, Values],
    actor: Actor,
    *,
    derived: Mapping[SourceImage, int] = MappingProxyType({}),
) -> None:
    """Write down which values of images, which are held, have just been replaced; of `derived` the ids of new ones."""
    ImageVersion.objects.bulk_create(
        ImageVersion(
            organization_id=image.organization_id,
            image_id=image.pk,
            hash=image.hash,
            kind=kind,
            before=to_json(values),
            derived_id=derived.get(image),
            source=actor.source,
            user=actor.user,
            api_key_id=actor.api_key_id,
            job_id=actor.job_id,
        )
        for image, values in before.items()
    )


def set_values(image: SourceImage, values: Values) -> dict[str, Any]:
    """Give the image, which is not saved yet, these values; answers those that they replace.

    The identity follows. The hash stays, as with `keepHash`: it is the name by which the image is known.
    """
    replaced = {name: getattr(image, name) for name, value in values.items() if getattr(image, name) != value}
    for name in replaced:
        setattr(image, name, values[name])
    image.identity = hashes.identity(image.binary_hash, image.dynamic_metadata, protected=image.protected)
    return replaced


def values_of(version: ImageVersion) -> dict[str, Any]:
    """The values that the change replaced, as an image has them."""
    return {name: FROM_JSON.get(name, _unchanged)(version.before[name]) for name in FIELDS if name in version.before}


def to_json(values: Values) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _parse_datetime(text: str) -> datetime:
    """SQLite, where it writes the row by itself, leaves the zone out."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _unchanged(value: Any) -> Any:
    return value


FROM_JSON: dict[str, Callable[[Any], Any]] = {"created": _parse_datetime}
