"""Purging cached renders. What CDNs and browsers keep is out of reach."""

from django.db.models import F

from organizations.audit import Actor, record
from organizations.models import Organization
from rendering.cache import renders
from rendering.models import Stack
from sourceimages.models import SourceImage


def purge_organization(organization: Organization, *, actor: Actor) -> int:
    """Remove all renders of the organization's images; return how many."""
    removed = renders().purge(organization.pk)
    record(actor, "renders.purged", organization=organization, count=removed)
    return removed


def purge_image(image: SourceImage, *, actor: Actor) -> int:
    """Remove the renders of the image; return how many."""
    removed = renders().purge(image.organization_id, image.hash)
    record(
        actor, "renders.purged", organization=image.organization, target=image.hash, target_id=image.pk, count=removed
    )
    return removed


def purge_stack(stack: Stack, *, actor: Actor) -> None:
    """Let everything that the stack renders be rendered again: its renders get other keys.

    The renders with the previous keys are evicted when they have not been used for long.
    """
    Stack.objects.filter(pk=stack.pk).update(cache_epoch=F("cache_epoch") + 1)
    record(actor, "renders.purged", organization=stack.organization, target=stack.name, target_id=stack.pk)
