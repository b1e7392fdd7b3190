"""The keys with which an organization signs URLs: added and removed by itself, and never all."""

from django.db import transaction

from organizations.audit import Actor, record
from organizations.errors import KeyInUse, KeyNotFound, TooManyKeys
from organizations.models import Organization, SigningKey, new_signing_key


@transaction.atomic
def add_signing_key(organization: Organization, *, actor: Actor) -> SigningKey:
    """One more key, valid at once beside those there are. Raises TooManyKeys."""
    organization = Organization.objects.get_for_update(organization)
    if organization.signing_keys.count() >= SigningKey.MAX_KEYS:
        raise TooManyKeys(f"There are {SigningKey.MAX_KEYS} signing keys already, the limit. Delete one first.")
    key = SigningKey.objects.create(organization=organization, key=new_signing_key())
    record(actor, "signing_key.created", organization=organization, target=key.fingerprint, target_id=key.pk)
    return key


@transaction.atomic
def reveal_signing_key(organization: Organization, fingerprint: str, *, actor: Actor) -> SigningKey:
    """The key itself, for somebody to see, of whom is written down that they did. Raises KeyNotFound."""
    for key in organization.signing_keys.all():
        if key.fingerprint == fingerprint:
            record(actor, "signing_key.revealed", organization=organization, target=fingerprint, target_id=key.pk)
            return key
    raise KeyNotFound("There is no signing key with this id.")


@transaction.atomic
def remove_signing_key(organization: Organization, fingerprint: str, *, actor: Actor) -> None:
    """Take a key out of use, and with it all URLs that were signed with it. Raises KeyNotFound, KeyInUse."""
    organization = Organization.objects.get_for_update(organization)
    keys = {key.fingerprint: key for key in organization.signing_keys.all()}
    if fingerprint not in keys:
        raise KeyNotFound("There is no signing key with this id.")
    if len(keys) == 1:
        raise KeyInUse("This is the only signing key. Add another one first.")
    record(actor, "signing_key.deleted", organization=organization, target=fingerprint, target_id=keys[fingerprint].pk)
    keys[fingerprint].delete()
