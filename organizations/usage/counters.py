"""Exact usage per organization without counting rows: updated in the transaction that changes the rows."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet, Sum

from organizations.models import Organization, UsageCounter
from rokka.core.prepared import PreparedQuery


@dataclass(frozen=True, slots=True)
class Totals:
    images: int  # active images
    bytes: int  # of all stored files, including those of images in the trash


def add(organization: Organization, *, images: int = 0, bytes: int = 0) -> None:
    """Update one slot. Call it last in the transaction, so that the row is locked as briefly as possible."""
    if images or bytes:
        UsageCounter.objects.filter(organization=organization, slot=random_slot()).update(
            images=F("images") + images, bytes=F("bytes") + bytes
        )


def random_slot() -> int:
    return random.randrange(UsageCounter.SLOTS)  # noqa: S311 (not security-relevant)


def totals(organization: Organization) -> Totals:
    """Return the usage of the organization."""
    return Totals(*(SUMS.first(organization.pk) or (0, 0)))


def _sums(organization_id: UUID) -> QuerySet[UsageCounter, Any]:
    of_organization = UsageCounter.objects.filter(organization=organization_id).values("organization")
    return of_organization.annotate(all_images=Sum("images"), all_bytes=Sum("bytes")).values_list(
        "all_images", "all_bytes"
    )


SUMS = PreparedQuery(_sums, UUID)


@transaction.atomic
def recount(organization: Organization, count: Callable[[], Totals]) -> None:
    """Replace the counters with the result of `count`. Locks all slots, so that no concurrent change counts twice."""
    list(organization.counters.order_by("slot").select_for_update())
    totals = count()
    organization.counters.update(images=0, bytes=0)
    organization.counters.filter(slot=0).update(images=totals.images, bytes=totals.bytes)
