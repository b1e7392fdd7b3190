"""What templates of the back-office say in more than one place."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from django import template
from django.utils import timezone

from sourceimages import thumbnails
from sourceimages.models import SourceImage, Tombstone

register = template.Library()


@register.filter
def days_left(tombstone: Tombstone) -> str:
    """Until it expires; begun days count, so that until the last moment there is one."""
    days = max(0, -((timezone.now() - tombstone.expires_at) // timedelta(days=1)))
    return "expired" if not days else f"{days} day{'s' * (days != 1)} left"


@register.filter
def has_preview(image: SourceImage) -> bool:
    """Whether there are small pictures of its format."""
    return image.format in thumbnails.SUPPORTED_FORMATS


@register.filter
def percent_of(part: Any, whole: Any) -> int:
    return min(100, round(100 * part / whole)) if whole else 0


@register.filter
def humanize_query(search: str) -> str:
    """Parameters of a search, as people wrote them."""
    return ", ".join(f"{name}: {value}" for name, value in parse_qsl(search))
