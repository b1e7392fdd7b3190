"""Choosing the signing key that a URL is signed with."""

from django.utils import timezone

from organizations.auth.credentials import TOUCH_INTERVAL
from organizations.models import Organization, SigningKey
from rokka.core.errors import InvalidInput


def newest_key(organization: Organization) -> SigningKey | None:
    """Return the signing key that URLs are signed with by default, if the organization has one."""
    return organization.signing_keys.order_by("-created", "-id").first()


def use_key(organization: Organization, requested: str | None = None) -> str:
    """Return the requested or newest signing key, marked as used. Raises InvalidInput if the organization lacks it."""
    keys = organization.signing_keys.all()
    key = keys.filter(key=requested).first() if requested is not None else newest_key(organization)
    if key is None and requested is None:
        raise InvalidInput(f"{organization.name!r} has no signing key. Add one first.")
    if key is None:
        raise InvalidInput("key: not a signing key of this organization.")
    if key.accessed is None or key.accessed < timezone.now() - TOUCH_INTERVAL:
        SigningKey.objects.filter(pk=key.pk).update(accessed=timezone.now())
    return key.key
