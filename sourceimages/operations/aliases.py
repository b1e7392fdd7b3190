"""Names for pictures. An alias keeps a hash, not a row: it outlives the picture, and means it again when it is back."""

import re
from dataclasses import dataclass

from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Organization
from rokka.database import retry_on_conflict
from sourceimages.errors import AliasExists, AliasNotFound
from sourceimages.models import Alias, SourceImage

NAME = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class Named:
    alias: Alias
    created: bool


def get_alias(organization: Organization, name: str) -> Alias:
    """Raises AliasNotFound, also for what no alias can be called."""
    found = organization.aliases.filter(alias=name).first() if NAME.match(name) else None
    if found is None:
        raise AliasNotFound(f"There is no alias {name[:80]!r} in {organization.name!r}.")
    return found


@retry_on_conflict("alias_unique")
@transaction.atomic
def set_alias(image: SourceImage, name: str, *, overwrite: bool, actor: Actor) -> Named:
    """Let the alias mean this picture. Raises AliasExists and AliasNotFound, the latter for a bad name."""
    organization = image.organization
    if not NAME.match(name):
        raise AliasNotFound(f"An alias is made of a-z, A-Z, 0-9 and _; {name[:80]!r} is none.")
    alias = organization.aliases.select_for_update(of=("self",)).filter(alias=name).first()
    if alias is None:
        alias = Alias.objects.create(organization=organization, alias=name, hash=image.hash)
        record(actor, "alias.created", organization=organization, target=name, after=image.hash)
        return Named(alias, created=True)
    if not overwrite:
        raise AliasExists(f"There is an alias {name!r} already. Use overwrite=true to change it.")
    before, alias.hash = alias.hash, image.hash
    alias.save(update_fields=["hash"])
    record(actor, "alias.changed", organization=organization, target=name, before=before, after=image.hash)
    return Named(alias, created=False)


@transaction.atomic
def delete_alias(organization: Organization, name: str, *, actor: Actor) -> None:
    """The picture stays. Raises AliasNotFound."""
    alias = get_alias(organization, name)
    alias.delete()
    record(actor, "alias.deleted", organization=organization, target=name, before=alias.hash)
