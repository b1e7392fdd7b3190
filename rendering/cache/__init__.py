"""The cache of renders: results by a key of everything that determines their content. Losing it costs only time."""

from typing import cast

from django.core.files.storage import storages

from .base import CachedRender, RenderCache, RenderName, memory_draft, reopened

__all__ = ["CachedRender", "RenderCache", "RenderName", "memory_draft", "renders", "reopened"]


def renders() -> RenderCache:
    """The cache configured by RENDER_CACHE_URL."""
    return cast(RenderCache, storages["renders"])
