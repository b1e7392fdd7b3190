"""Operations on an organization's signing keys. An organization always has at least one."""

from django.db import transaction

from organizations.audit import Actor, record
from organizations.errors import KeyInUse, KeyNotFound, TooManyKeys
from organizations.models import Organization, SigningKey, new_signing_key


@transaction.atomic
def add_signing_key(organization: Organization, *, actor: Actor) -> SigningKey:
    """Create a signing key, valid immediately and in addition to the others. Raises TooManyKeys."""
    organization = Organization.objects.get_for_update(organization)
    if organization.signing_keys.count() >= SigningKey.MAX_KEYS:
        raise TooManyKeys(f"An organization can have at most {SigningKey.MAX_KEYS} signing keys. Delete one first.")
    key = SigningKey.objects.create(organization=organization, key=new_signing_key())
    record(actor, "signing_key.created", organization=organization, target=key.fingerprint, target_id=key.pk)
    return key


@transaction.atomic
def reveal_signing_key(organization: Organization, fingerprint: str, *, actor: Actor) -> SigningKey:
    """Return a key whose secret will be shown to the actor, and log that. Raises KeyNotFound."""
    for key in organization.signing_keys.all():
        if key.fingerprint == fingerprint:
            record(actor, "signing_key.revealed", organization=organization, target=fingerprint, target_id=key.pk)
            return key
    raise KeyNotFound("Signing key not found.")


@transaction.atomic
def remove_signing_key(organization: Organization, fingerprint: str, *, actor: Actor) -> None:
    """Delete a signing key. URLs signed with it become invalid. Raises KeyNotFound, KeyInUse."""
    organization = Organization.objects.get_for_update(organization)
    keys = {key.fingerprint: key for key in organization.signing_keys.all()}
    if fingerprint not in keys:
        raise KeyNotFound("Signing key not found.")
    if len(keys) == 1:
        raise KeyInUse("This is the only signing key. Add another one first.")
    record(actor, "signing_key.deleted", organization=organization, target=fingerprint, target_id=keys[fingerprint].pk)
    keys[fingerprint].delete()
