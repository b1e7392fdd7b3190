"""What refers to an image by its hash: aliases, and what other apps register.

References survive a deletion, because the image can be restored. If another image replaces it, they follow to that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from organizations.audit import Actor, event_of
from organizations.models import AuditEvent
from sourceimages import versions
from sourceimages.models import Alias, ImageVersion, SourceImage

MAX_TARGET_LENGTH = 80  # of an audit event


@dataclass(frozen=True, slots=True)
class Reference:
    """A model whose rows refer to an image of their organization by its full hash, in the field `hash`."""

    model: type[Model]
    name_field: str  # unique in the organization
    action: str  # in the audit log, if a row refers to another image
    kind: ImageVersion.Kind  # the same in the history of the image


REFERENCES: dict[str, Reference] = {  # by the key of the name in `before` of a version
    "alias": Reference(Alias, "alias", "alias.updated", ImageVersion.Kind.ALIAS_MOVED)
}
MOVED = (ImageVersion.Kind.ALIAS_MOVED, ImageVersion.Kind.REMOTE_IMAGE_MOVED)


def follow(previous: SourceImage, target: SourceImage, actor: Actor, *, only: Mapping[str, str] | None = None) -> None:
    """Let what refers to `previous` refer to `target`; with `only`, the references with these names.

    Both images are of one organization and locked. The history of `previous` records each reference.
    """
    for key, reference in REFERENCES.items():
        if only is not None and key not in only:
            continue
        named = {} if only is None else {reference.name_field: only[key]}
        objects: Any = reference.model._default_manager
        rows = objects.filter(organization=previous.organization_id, hash=previous.hash, **named)
        names = dict(rows.order_by("pk").select_for_update(of=("self",)).values_list("pk", reference.name_field))
        objects.filter(pk__in=names).update(hash=target.hash)
        ImageVersion.objects.bulk_create(
            versions.version_of(previous, reference.kind, {key: name}, actor, derived_id=target.pk)
            for name in names.values()
        )
        AuditEvent.objects.bulk_create(
            event_of(
                actor,
                reference.action,
                organization=previous.organization,
                target=name[:MAX_TARGET_LENGTH],
                details={"before": previous.hash, "after": target.hash},
            )
            for name in names.values()
        )
