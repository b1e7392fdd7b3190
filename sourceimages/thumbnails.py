"""Pictures made small for people to look at, drawn by a limited child process and kept for a while."""

import contextlib

from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from sourceimages import probing, stored_files
from sourceimages.models import StoredFile

SIZES = {"small": 320, "large": 1600}  # pixels, at most
SUPPORTED_FORMATS = frozenset({"jpg", "png", "webp", "gif", "tif", "avif", "heic", "jxl", "psd", "svg", "pdf"})
NO_PREVIEW = b""
CACHE_SECONDS = 86_400


def preview(file: StoredFile, size: str, *, upright: bool = True) -> bytes | None:
    """The file as WebP, small or large; None where there is nothing to see.

    Raises BytesMissing, StorageUnavailable and Unavailable, which are not remembered.
    """
    if file.format not in SUPPORTED_FORMATS:
        return None
    kept = caches["previews"]
    key = f"{file.pk}.{file.content_hash}.{size}.{'upright' if upright else 'stored'}"
    made = kept.get(key)
    if not isinstance(made, bytes):
        with stored_files.local_file(file) as path:
            made = probing.render_thumbnail(path, file.format, side=SIZES[size], upright=upright) or NO_PREVIEW
        with contextlib.suppress(OSError):  # a disk that is full, or not ours to write to: it is seen all the same
            kept.set(key, made, DEFAULT_TIMEOUT if made else CACHE_SECONDS)
    return made or None
