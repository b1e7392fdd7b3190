"""Previews of images for the admin, rendered and cached like the results of render URLs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from rendering import definitions
from rendering.cache import CachedRender, RenderName, renders
from rendering.errors import RenderQueueFull, RenderTooLarge, RenderTooSlow, UnreadableSource
from rendering.limits import MAX_FRAMES, MAX_PIXELS
from rendering.pool import RenderInterrupted
from rendering.resolve import HEAVY_PIXELS, Recipe, recipe_key
from rendering.serving import rendered
from sourceimages.formats import RENDERABLE
from sourceimages.models import SourceImage, StoredFile

SIZES = {"small": 320, "large": 1600}  # longer side, maximum in pixels
QUALITY = 80
WAIT_SECONDS = 25  # that a preview waits for its turn

# A page with many thumbnails requests all of them at once. They take turns, so that render URLs are not refused.
_turns = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 4))


def preview(image: SourceImage, size: str, *, upright: bool = True) -> CachedRender | None:
    """A preview of the image as WebP, of its first frame or page; None if the image can't be rendered.

    `upright=False` shows the orientation as stored, in which areas are selected. The caller closes the file. Raises
    OriginalMissing and StorageUnavailable; RenderQueueFull and RenderTimeout if it did not get its turn.
    """
    if image.file.format not in RENDERABLE:
        return None
    recipe = preview_recipe(image.file, size, upright=upright)
    name = RenderName(image.organization_id, image.hash, recipe.key)
    if hit := renders().find(name, recipe.formats):
        return hit
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        with _turn():
            remaining = max(0.0, deadline - time.monotonic())
            return rendered(recipe, name, {image.file.content_hash: image.file}, admission_seconds=remaining)
    except (UnreadableSource, RenderTooLarge, RenderTooSlow, RenderInterrupted):
        return None


def preview_recipe(file: StoredFile, size: str, *, upright: bool = True) -> Recipe:
    """The recipe of a preview."""
    side = SIZES[size]
    source: dict[str, Any] = {"file": file.content_hash, "format": file.format, "animated": False}
    if not upright:
        source["upright"] = False
    if file.static_metadata.get("damaged"):
        source["partial"] = True
    resize = definitions.resolve_operation("resize", {"width": side, "height": side, "upscale": False})
    del resize["enabled"]
    body = {
        "source": source,
        "operations": [{"name": "resize", "options": resize, "dpr": 1}],
        "areas": {},
        "output": {"format": "webp", "options": {"webp.quality": QUALITY}},
        "limits": {"pixels": MAX_PIXELS, "frames": MAX_FRAMES},
    }
    return Recipe(
        body=body,
        formats=("webp",),
        vary=(),
        heavy=file.width * file.height > HEAVY_PIXELS,
        attachment=False,
        key=recipe_key(body),
    )


@contextmanager
def _turn() -> Iterator[None]:
    """Context of a preview that is rendered. Raises RenderQueueFull if none finishes within WAIT_SECONDS."""
    if not _turns.acquire(timeout=WAIT_SECONDS):
        limit = max(1, settings.WEB_THREADS // 4)
        raise RenderQueueFull(f"{limit} previews are being rendered. Try again in a second.", seconds=1, limit=limit)
    try:
        yield
    finally:
        _turns.release()
