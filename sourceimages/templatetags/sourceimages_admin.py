"""Template filters of the admin."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from django import template
from django.utils import timezone

from organizations.models import Job
from sourceimages import jobs, thumbnails
from sourceimages.models import SourceImage, Tombstone

register = template.Library()


@register.filter
def days_left(tombstone: Tombstone) -> str:
    """Return the time until the deletion expires, such as "3 days left", rounded up; "expired" if it has."""
    days = max(0, -((timezone.now() - tombstone.expires_at) // timedelta(days=1)))
    return "expired" if not days else f"{days} day{'s' * (days != 1)} left"


@register.filter
def has_preview(image: SourceImage) -> bool:
    """Return whether previews are available for the format of the image."""
    return image.format in thumbnails.SUPPORTED_FORMATS


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
