"""Aliases of images. An alias refers to a hash: it survives a deletion, and works again when the image is restored.

If another image replaces the image, the alias follows to that one (references.py).
"""

import re
from dataclasses import dataclass

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Organization
from rokka.core.database import retry_on_conflict
from sourceimages import versions
from sourceimages.errors import AliasExists, AliasNotFound
from sourceimages.models import Alias, ImageVersion, SourceImage
from sourceimages.operations.delete import get_for_update

NAME = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class AliasResult:
    alias: Alias
    created: bool


def get_alias(organization: Organization, name: str, *, for_update: bool = False) -> Alias:
    """The alias of this name. Raises AliasNotFound, also for an invalid name."""
    aliases = organization.aliases.select_for_update() if for_update else organization.aliases.all()
    found = aliases.filter(alias=name).first() if NAME.match(name) else None
    if found is None:
        raise AliasNotFound(f"Alias {name[:80]!r} not found in {organization.name!r}.")
    return found


@retry_on_conflict("alias_unique")
@transaction.atomic
def set_alias(image: SourceImage, name: str, *, overwrite: bool, actor: Actor) -> AliasResult:
    """Create the alias, or with `overwrite` point it to this image.

    Raises AliasExists; AliasNotFound if invalid; ImageNotFound if another request has just deleted the image.
    """
    organization = image.organization
    if not NAME.match(name):
        raise AliasNotFound(f"Invalid alias {name[:80]!r}. Use 1–255 characters of a-z, A-Z, 0-9 and _.")
    get_for_update(image)  # or the alias would not follow to the image that is replacing this one
    alias = organization.aliases.select_for_update(of=("self",)).filter(alias=name).first()
    if alias is None:
        alias = Alias.objects.create(organization=organization, alias=name, hash=image.hash)
        record(actor, "alias.created", organization=organization, target=name, after=image.hash)
        return AliasResult(alias, created=True)
    if not overwrite:
        raise AliasExists(f"Alias {name!r} already exists. Use overwrite=true to replace it.")
    before, alias.hash = alias.hash, image.hash
    alias.save(update_fields=["hash"])
    if before != alias.hash:
        _record_version(ImageVersion.Kind.ALIAS_MOVED, organization, name, before, actor)
    record(actor, "alias.updated", organization=organization, target=name, before=before, after=image.hash)
    return AliasResult(alias, created=False)


@transaction.atomic
def delete_alias(organization: Organization, name: str, *, actor: Actor) -> None:
    """Delete the alias, not the image. Raises AliasNotFound."""
    alias = get_alias(organization, name, for_update=True)
    alias.delete()
    _record_version(ImageVersion.Kind.ALIAS_DELETED, organization, name, alias.hash, actor)
    record(actor, "alias.deleted", organization=organization, target=name, before=alias.hash)


def _record_version(kind: ImageVersion.Kind, organization: Organization, name: str, hash: str, actor: Actor) -> None:
    """Record the change in the history of the image: the active one, or else the latest in the trash.

    If no image has the hash any more, only the audit log has it.
    """
    images = organization.images.filter(hash=hash).order_by("-id")
    if image := images.active().first() or images.first():
        versions.record_versions(kind, {image: {"alias": name}}, actor)
