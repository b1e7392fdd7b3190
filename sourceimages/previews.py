"""Pictures made small for people to look at, drawn by a limited child process and kept for a while."""

from typing import cast

from django.core.cache import caches

from sourceimages import probing, storage
from sourceimages.models import StoredFile

SIDES = {"small": 320, "large": 1600}  # pixels, at most
DRAWN = frozenset({"jpg", "png", "webp", "gif", "tif", "avif", "heic", "jxl", "psd", "svg", "pdf"})
NOTHING = b""
A_DAY = 86_400


def preview(file: StoredFile, size: str, *, upright: bool = True) -> bytes | None:
    """The file as WebP, small or large; None where there is nothing to see.

    Raises BytesMissing, StorageUnavailable and Unavailable, which are not remembered.
    """
    if file.format not in DRAWN:
        return None
    kept = caches["previews"]
    key = f"{file.pk}.{file.content_hash}.{size}.{'upright' if upright else 'stored'}"
    made = cast(bytes | None, kept.get(key))
    if made is None:
        with storage.originals().local(file.key) as path:
            made = probing.raster(path, file.format, side=SIDES[size], upright=upright) or NOTHING
        if made == NOTHING:
            kept.set(key, made, A_DAY)
        else:
            kept.set(key, made)
    return made or None
