"""The dominant colors of an image, computed from a small version of it."""

from typing import cast

import pyvips
from PIL import Image

from . import alpha  # noqa: F401 (switches the cache of libvips off)

SAMPLE_SIDE = 64  # pixels
MAX_COLORS = 5
MIN_SHARE = 0.04  # share of all pixels
MIN_DISTANCE = 16  # of 255, in each of red, green and blue
MAX_MEGAPIXELS = {
    "jpg": 1000,
    "webp": 100,
    "png": 50,
    "gif": 50,
    "tif": 50,
}  # keeps the work below half a second
SHRINK_ABOVE_PIXELS = 4_000_000  # larger JPEGs are decoded at an eighth of their size


def dominant(path: str, format: str) -> list[str]:
    """The most frequent colors first, as #rrggbb; empty if the image is too large or can't be decoded."""
    try:
        return _dominant(path, format) if format in MAX_MEGAPIXELS else []
    except Exception:  # noqa: BLE001, colors are optional
        return []


def _dominant(path: str, format: str) -> list[str]:
    image = _load(path, format)
    if image.width * image.height > MAX_MEGAPIXELS[format] * 1_000_000:
        return []
    small = image.thumbnail_image(SAMPLE_SIDE, height=SAMPLE_SIDE, no_rotate=True).colourspace("srgb")
    if small.hasalpha():
        small = small.flatten(background=255)
    image_rgb = Image.frombytes("RGB", (small.width, small.height), small.cast("uchar").write_to_memory())
    reduced = image_rgb.quantize(MAX_COLORS)
    palette = reduced.getpalette() or []
    found: list[bytes] = []
    for count, number in sorted(reduced.getcolors() or [], reverse=True):
        color = bytes(palette[3 * cast(int, number) :][:3])
        rare = count < MIN_SHARE * image_rgb.width * image_rgb.height
        if not rare and all(_distance(color, other) > MIN_DISTANCE for other in found):
            found.append(color)
    return [f"#{color.hex()}" for color in found]


def _distance(one: bytes, other: bytes) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _load(path: str, format: str) -> pyvips.Image:
    if format == "jpg":
        image = pyvips.Image.jpegload(path, access="sequential")
        if image.width * image.height > SHRINK_ABOVE_PIXELS:
            return pyvips.Image.jpegload(path, access="sequential", shrink=8)
        return image
    loaders = {"png": pyvips.Image.pngload, "webp": pyvips.Image.webpload, "gif": pyvips.Image.gifload}
    loaders["tif"] = pyvips.Image.tiffload
    return loaders[format](path, access="sequential")
