"""Template filters of the admin."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from django import template
from django.utils import timezone

from organizations.auth.staff import visible_name
from organizations.models import Job
from sourceimages import jobs
from sourceimages.formats import RENDERABLE, UNDECODABLE
from sourceimages.models import SourceImage, Tombstone

register = template.Library()

EXPIRING_DAYS = 3


@register.filter
def user_name(row: Any) -> str:
    """Return the name of the user of a row that is annotated with `user_is_known` (organizations.auth.staff)."""
    return visible_name(row.user, row.user_is_known)


@register.filter
def days_left(tombstone: Tombstone) -> str:
    """Return the time until the deletion expires, such as "3 days left", rounded up; "expired" if it has."""
    days = _days_left(tombstone)
    return "expired" if not days else f"{days} day{'s' * (days != 1)} left"


@register.filter
def is_expiring(tombstone: Tombstone) -> bool:
    """Return whether the deletion expires in the next days, or has expired, so that pages highlight it."""
    return _days_left(tombstone) <= EXPIRING_DAYS


def _days_left(tombstone: Tombstone) -> int:
    """Return the days until the deletion expires, rounded up; 0 if it has."""
    return max(0, -((timezone.now() - tombstone.expires_at) // timedelta(days=1)))


@register.filter
def has_preview(image: SourceImage) -> bool:
    """Return whether previews are available for the format of the image."""
    return image.format in RENDERABLE


@register.filter
def has_decoder(image: SourceImage) -> bool:
    """Return False if previews only lack an optional package."""
    return image.format not in UNDECODABLE


@register.filter
def job_title(job: Job) -> str:
    return jobs.title(job)


@register.filter
def percent_of(part: Any, total: Any) -> int:
    """Return 0 to 100; 0 without a total."""
    return min(100, round(100 * part / total)) if total else 0


@register.filter
def humanize_query(search: str) -> str:
    """Return URL-encoded search parameters as "name: value, …"."""
    return ", ".join(f"{name}: {value}" for name, value in parse_qsl(search))


@register.filter
def as_text(value: Any) -> str:
    """Return text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
