"""Previews of images for the admin, rendered by a probe worker and cached."""

import contextlib

from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from sourceimages import probing, stored_files
from sourceimages.models import StoredFile

SIZES = {"small": 320, "large": 1600}  # longer side, maximum in pixels
SUPPORTED_FORMATS = frozenset({"jpg", "png", "webp", "gif", "tif", "avif", "heic", "jxl", "psd", "svg", "pdf"})
NO_PREVIEW = b""
NO_PREVIEW_CACHE_SECONDS = 86_400


def preview(file: StoredFile, size: str, *, upright: bool = True) -> bytes | None:
    """Return a preview of the file as WebP; None if the format is not supported or the file can't be rendered.

    Raises OriginalMissing, StorageUnavailable and Unavailable; errors are not cached.
    """
    if file.format not in SUPPORTED_FORMATS:
        return None
    cache = caches["previews"]
    key = f"{file.pk}.{file.content_hash}.{size}.{'upright' if upright else 'stored'}"
    data = cache.get(key)
    if not isinstance(data, bytes):
        with stored_files.local_file(file) as path:
            data = probing.render_thumbnail(path, file.format, side=SIZES[size], upright=upright) or NO_PREVIEW
        with contextlib.suppress(OSError):  # a full or read-only disk must not prevent showing the preview
            cache.set(key, data, DEFAULT_TIMEOUT if data else NO_PREVIEW_CACHE_SECONDS)
    return data or None
