"""Names for pictures. An alias keeps a hash, not a row: it outlives the picture, and means it again when it is back."""

import re
from dataclasses import dataclass

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Organization
from rokka.core.database import retry_on_conflict
from sourceimages import versions
from sourceimages.errors import AliasExists, AliasNotFound
from sourceimages.models import Alias, ImageVersion, SourceImage

NAME = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class AliasResult:
    alias: Alias
    created: bool


def get_alias(organization: Organization, name: str, *, for_update: bool = False) -> Alias:
    """Raises AliasNotFound, also for what no alias can be called."""
    aliases = organization.aliases.select_for_update() if for_update else organization.aliases.all()
    found = aliases.filter(alias=name).first() if NAME.match(name) else None
    if found is None:
        raise AliasNotFound(f"There is no alias {name[:80]!r} in {organization.name!r}.")
    return found


@retry_on_conflict("alias_unique")
@transaction.atomic
def set_alias(image: SourceImage, name: str, *, overwrite: bool, actor: Actor) -> AliasResult:
    """Let the alias mean this picture. Raises AliasExists and AliasNotFound, the latter for a bad name."""
    organization = image.organization
    if not NAME.match(name):
        raise AliasNotFound(f"An alias is made of a-z, A-Z, 0-9 and _; {name[:80]!r} is none.")
    alias = organization.aliases.select_for_update(of=("self",)).filter(alias=name).first()
    if alias is None:
        alias = Alias.objects.create(organization=organization, alias=name, hash=image.hash)
        record(actor, "alias.created", organization=organization, target=name, after=image.hash)
        return AliasResult(alias, created=True)
    if not overwrite:
        raise AliasExists(f"There is an alias {name!r} already. Use overwrite=true to change it.")
    before, alias.hash = alias.hash, image.hash
    alias.save(update_fields=["hash"])
    if before != alias.hash:
        _record_version(ImageVersion.Kind.ALIAS_MOVED, organization, name, before, actor)
    record(actor, "alias.changed", organization=organization, target=name, before=before, after=image.hash)
    return AliasResult(alias, created=False)


@transaction.atomic
def delete_alias(organization: Organization, name: str, *, actor: Actor) -> None:
    """The picture stays. Raises AliasNotFound."""
    alias = get_alias(organization, name, for_update=True)
    alias.delete()
    _record_version(ImageVersion.Kind.ALIAS_DELETED, organization, name, alias.hash, actor)
    record(actor, "alias.deleted", organization=organization, target=name, before=alias.hash)


def _record_version(kind: ImageVersion.Kind, organization: Organization, name: str, hash: str, actor: Actor) -> None:
    """That the alias meant this hash belongs to the history of its image: the active one, else the latest in the trash.

    Where there is none any more, only the audit log tells.
    """
    images = organization.images.filter(hash=hash).order_by("-id")
    if image := images.active().first() or images.first():
        versions.record_versions(kind, {image: {"alias": name}}, actor)
