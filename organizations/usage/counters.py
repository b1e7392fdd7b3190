"""Exact numbers per organization, without counting: changed in the transaction that changes the rows."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Sum

from organizations.models import Organization, UsageCounter


@dataclass(frozen=True, slots=True)
class Totals:
    images: int  # living pictures
    bytes: int  # of all stored files, those of pictures in the trash included


def add(organization: Organization, *, images: int = 0, bytes: int = 0) -> None:
    """Change one slot. Call it last in the transaction: whoever waits for the row waits the shortest time."""
    if images or bytes:
        slot = random.randrange(UsageCounter.SLOTS)  # noqa: S311 (spreads load, guards nothing)
        UsageCounter.objects.filter(organization=organization, slot=slot).update(
            images=F("images") + images, bytes=F("bytes") + bytes
        )


def totals(organization: Organization) -> Totals:
    sums = organization.counters.aggregate(images=Sum("images"), bytes=Sum("bytes"))
    return Totals(images=sums["images"] or 0, bytes=sums["bytes"] or 0)


@transaction.atomic
def recount(organization: Organization, count: Callable[[], Totals]) -> None:
    """Count anew. Who changes rows meanwhile waits for us with its slot, or we for it: nothing counts twice."""
    list(organization.counters.order_by("slot").select_for_update())
    counted = count()
    organization.counters.update(images=0, bytes=0)
    organization.counters.filter(slot=0).update(images=counted.images, bytes=counted.bytes)
