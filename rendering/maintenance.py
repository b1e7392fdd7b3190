"""Scheduled work on the render cache: its budget, and renders of images that no longer exist."""

from itertools import groupby, islice
from uuid import UUID

import structlog
from django.conf import settings

from rendering.cache import renders
from rendering.cache.base import CacheUsage
from sourceimages.models import SourceImage

BATCH = 500  # images per query

log = structlog.get_logger()


def evict() -> CacheUsage:
    """Remove the least recently used renders above RENDER_CACHE_SIZE."""
    usage = renders().evict(settings.RENDER_CACHE_SIZE)
    if usage.removed_files:
        log.info("render.evicted", files=usage.removed_files, size=usage.removed_size, of=usage.size)
    return usage


def remove_unreferenced() -> int:
    """Remove the renders of images that are not active; return how many. They are not served in any case."""
    removed = 0
    for organization_id, group in groupby(renders().images(), key=lambda image: image[0]):
        while hashes := {hash for _, hash in islice(group, BATCH)}:
            removed += _remove(organization_id, hashes)
    if removed:
        log.info("render.removed", files=removed)
    return removed


def _remove(organization_id: UUID, hashes: set[str]) -> int:
    images = SourceImage.objects.active().filter(organization_id=organization_id, hash__in=hashes)
    return sum(renders().purge(organization_id, hash) for hash in hashes - set(images.values_list("hash", flat=True)))
