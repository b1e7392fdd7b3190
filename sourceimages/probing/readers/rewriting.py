"""TIFF and PSD as PNG without loss, or as JPEG or WebP of high quality. What those cannot hold is left alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pyvips

from . import alpha, psdpixels, tiff
from .facts import UnreadableError
from .psdpixels import NotHeldError

LARGEST_JPEG, LARGEST_WEBP = 65_500, 16_383  # pixels of a side
QUALITY = 92
OPTIMIZED = 50_000_000  # pixels
PREMULTIPLIED = 1  # kind of extra sample in TIFF
WHOLE = ("uchar", "ushort")  # what PNG holds
COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3}  # bands without alpha


class Place(NamedTuple):
    """A file to write, which this process was given open: it may not open any for writing."""

    path: str
    descriptor: int

    def target(self) -> pyvips.Target:
        return pyvips.Target.new_to_descriptor(self.descriptor)


Load = Callable[[], pyvips.Image]


def rewrite(path: str, format: str, to: str, out: Place, scratch: Place) -> dict[str, Any]:
    """Write the picture to `out` and answer its new format; or answer why it is left alone."""

    def load() -> pyvips.Image:
        return _load_tiff(path) if format == "tif" else psdpixels.load(path, scratch.path)

    try:
        if format == "psd":
            psdpixels.unpack(path, scratch.descriptor)
        return {"format": _to_png(load, out) if to == "png" else _to_photo(load, out)}
    except NotHeldError as error:
        return {"left": str(error)}
    except (pyvips.Error, ValueError, OSError, EOFError, UnreadableError) as error:
        return {"left": f"its pixels cannot be read: {_reason(error)}"}


def _reason(error: Exception) -> str:
    """libvips says first what it could not do, and then why: the library below it, and its words."""
    first, *others = str(error).splitlines() or [type(error).__name__]
    return (others[0].rpartition(": ")[2] if others else first).strip()[:200]


def _load_tiff(path: str) -> pyvips.Image:
    with open(path, "rb") as file:
        if PREMULTIPLIED in tiff.extra_samples(file):
            raise NotHeldError("its colours are multiplied with its transparency")
    image = pyvips.Image.tiffload(path, access="sequential", fail_on="error")
    if image.get_typeof("n-pages") and image.get("n-pages") > 1:
        raise NotHeldError(f"it has {image.get('n-pages')} pages")
    return image


def _to_png(load: Load, out: Place) -> str:
    image = load()
    _check_samples(image)
    _check_bands(image)
    deep = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 8
    options = {"bitdepth": 1} if deep == 1 and image.bands == 1 else {}
    image.pngsave_target(out.target(), filter="all", **options)
    written = pyvips.Image.pngload(out.path, access="sequential", fail_on="warning")
    if (written.width, written.height, written.bands, written.format) != (
        image.width,
        image.height,
        image.bands,
        image.format,
    ):
        raise NotHeldError("what was written is not the same picture")
    if (written == load()).min() != 255:
        raise NotHeldError("what was written has other pixels")
    return "png"


def _to_photo(load: Load, out: Place) -> str:
    image = load()
    _check_samples(image)
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", intent="relative")
    else:
        _check_bands(image)
    transparent = image.hasalpha() and not alpha.is_full(load())
    side = max(image.width, image.height)
    if side > (LARGEST_WEBP if transparent else LARGEST_JPEG):
        raise NotHeldError(f"a side of {side} pixels is too long for {'WebP' if transparent else 'JPEG'}")
    if image.format == "ushort":
        image = (image >> 8).cast("uchar").copy(interpretation="srgb" if image.bands > 2 else "b-w")
    if image.hasalpha() and not transparent:
        image = image[: image.bands - 1]
    if transparent:
        image.webpsave_target(out.target(), Q=QUALITY, alpha_q=100, smart_subsample=True)
        written = pyvips.Image.webpload(out.path, access="sequential", fail_on="warning")
    else:
        held_whole = image.width * image.height <= OPTIMIZED  # for better tables, libjpeg needs all of the picture
        image.jpegsave_target(out.target(), Q=QUALITY, optimize_coding=held_whole, subsample_mode="off")
        written = pyvips.Image.jpegload(out.path, access="sequential", fail_on="warning")
    if (written.width, written.height) != (image.width, image.height):
        raise NotHeldError("what was written has another size")
    written.avg()  # all of it can be decoded
    return "webp" if transparent else "jpg"


def _check_samples(image: pyvips.Image) -> None:
    if image.format not in WHOLE:
        raise NotHeldError(f"its samples are of the kind {image.format}")


def _check_bands(image: pyvips.Image) -> None:
    colours = COLOURS.get(image.interpretation)
    if colours is None:
        raise NotHeldError(f"its colours ({image.interpretation}) are none that PNG holds")
    if image.bands != colours + image.hasalpha():
        raise NotHeldError("it has channels beyond colours and transparency")
