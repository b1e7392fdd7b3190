"""TIFF and PSD as PNG without loss, or as JPEG or WebP of high quality, with all that they say about the image.

What the new format cannot hold leaves the file alone, and so does what cannot be read back as it was.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pyvips

from . import alpha, camera_raw, carried, embedding, metadata, psd_decode
from .carried import Carried
from .header import CannotConvertError, CorruptFileError, UnsupportedFormatError
from .ifds import Tiff

MAX_JPEG_SIDE, MAX_WEBP_SIDE = 65_500, 16_383  # pixels of a side
QUALITY = 92
MAX_OPTIMIZED_PIXELS = 50_000_000  # pixels
EXTRA_SAMPLES, PREMULTIPLIED = 338, 1  # tag of TIFF, and the kind of such a sample
INTEGER_FORMATS = ("uchar", "ushort")  # what PNG holds
COLOR_SPACES = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3}  # bands without alpha
PROFILE = "icc-profile-data"
COMPARED = ("exif", "location", "iptc", "xmp", "icc")  # groups that have to say the same as before


class OutputFile(NamedTuple):
    """A file to write, which this process was given open: it may not open any for writing."""

    path: str
    descriptor: int

    def target(self) -> pyvips.Target:
        return pyvips.Target.new_to_descriptor(self.descriptor)


Load = Callable[[], pyvips.Image]


def transcode(path: str, format: str, to: str, out: OutputFile, scratch: OutputFile) -> dict[str, Any]:
    """Write the picture to `out` and answer its new format; or answer why it is left alone."""

    def load() -> pyvips.Image:
        return _load_tiff(path) if format == "tif" else psd_decode.load(path, scratch.path)

    try:
        if format == "tif":
            _check_first_image(path)
        blocks = _carried(path, format)
        if format == "psd":
            psd_decode.unpack(path, scratch.descriptor)
        written, converted = (_to_png if to == "png" else _to_lossy)(load, out, blocks)
        _check_declared(metadata.describe_all(path, format), metadata.describe_all(out.path, written), converted)
        return {"format": written}
    except (CannotConvertError, UnsupportedFormatError) as error:
        return {"skipped_reason": str(error)}
    except (pyvips.Error, struct.error, ValueError, OSError, EOFError, CorruptFileError) as error:
        return {"skipped_reason": f"it cannot be read: {_reason(error)}"}


def _check_first_image(path: str) -> None:
    """That the image that decoders hand over is the one that counts, and the only one."""
    with open(path, "rb") as file:
        tiff = Tiff(file)
        if raw := camera_raw.read(tiff):
            raise CannotConvertError(f"it is a camera raw ({raw.format})")
        pages = list(tiff.chain())
        if len(pages) > 1:
            raise CannotConvertError(f"it has {len(pages)} pages")
        if camera_raw.hides_image(tiff):
            raise CannotConvertError("its first image is only a preview")
        if PREMULTIPLIED in tiff.numbers(pages[0], EXTRA_SAMPLES):
            raise CannotConvertError("its colours are multiplied with its transparency")


def _carried(path: str, format: str) -> Carried:
    with open(path, "rb") as file:
        return carried.from_tiff(file) if format == "tif" else carried.from_psd(file)


def _check_declared(before: metadata.Groups, after: metadata.Groups, converted: bool) -> None:
    """That the new file says of itself what the old one said; the profile has changed with the colours."""
    for group in COMPARED:
        if before.get(group) != after.get(group) and not (converted and group == "icc"):
            raise CannotConvertError(f"its metadata ({group}) could not be read back as it was")


def _reason(error: Exception) -> str:
    """libvips says first what it could not do, and then why: the library below it, and its words."""
    first, *others = str(error).splitlines() or [type(error).__name__]
    return (others[0].rpartition(": ")[2] if others else first).strip()[:200]


def _load_tiff(path: str) -> pyvips.Image:
    return pyvips.Image.tiffload(path, access="sequential", fail_on="error")


def _to_png(load: Load, out: OutputFile, blocks: Carried) -> tuple[str, bool]:
    image = load()
    _check_samples(image)
    _check_bands(image)
    deep = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 8
    options = {"bitdepth": 1} if deep == 1 and image.bands == 1 else {}
    target = embedding.into_png(out.descriptor, blocks)
    image.pngsave_target(target, filter="all", keep="icc", **options)
    written = pyvips.Image.pngload(out.path, access="sequential", fail_on="warning")
    if (written.width, written.height, written.bands, written.format) != (
        image.width,
        image.height,
        image.bands,
        image.format,
    ):
        raise CannotConvertError("what was written is not the same picture")
    if (written == load()).min() != 255:
        raise CannotConvertError("what was written has other pixels")
    _check_profile(image, written)
    return "png", False


def _to_lossy(load: Load, out: OutputFile, blocks: Carried) -> tuple[str, bool]:
    image = load()
    _check_samples(image)
    if converted := image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", intent="relative")
    else:
        _check_bands(image)
    transparent = image.hasalpha() and not alpha.is_opaque(load())
    side = max(image.width, image.height)
    if side > (MAX_WEBP_SIDE if transparent else MAX_JPEG_SIDE):
        raise CannotConvertError(f"a side of {side} pixels is too long for {'WebP' if transparent else 'JPEG'}")
    if image.format == "ushort":
        image = (image >> 8).cast("uchar").copy(interpretation="srgb" if image.bands > 2 else "b-w")
    if image.hasalpha() and not transparent:
        image = image[: image.bands - 1]
    if transparent:
        image.webpsave_target(out.target(), Q=QUALITY, alpha_q=100, smart_subsample=True, keep="icc")
        embedding.into_webp(*out, blocks)
        written = pyvips.Image.webpload(out.path, access="sequential", fail_on="warning")
    else:
        target = embedding.into_jpeg(out.descriptor, blocks)
        held_whole = (
            image.width * image.height <= MAX_OPTIMIZED_PIXELS
        )  # for better tables, libjpeg needs all of the picture
        image.jpegsave_target(target, Q=QUALITY, optimize_coding=held_whole, subsample_mode="off", keep="icc")
        written = pyvips.Image.jpegload(out.path, access="sequential", fail_on="warning")
    if (written.width, written.height) != (image.width, image.height):
        raise CannotConvertError("what was written has another size")
    written.avg()  # all of it can be decoded
    _check_profile(image, written)
    return "webp" if transparent else "jpg", converted


def _check_profile(image: pyvips.Image, written: pyvips.Image) -> None:
    if _profile(image) != _profile(written):
        raise CannotConvertError("its colour profile could not be read back as it was")


def _profile(image: pyvips.Image) -> bytes:
    return bytes(image.get(PROFILE)) if image.get_typeof(PROFILE) else b""


def _check_samples(image: pyvips.Image) -> None:
    if image.format not in INTEGER_FORMATS:
        raise CannotConvertError(f"its samples are of the kind {image.format}")


def _check_bands(image: pyvips.Image) -> None:
    colours = COLOR_SPACES.get(image.interpretation)
    if colours is None:
        raise CannotConvertError(f"its colours ({image.interpretation}) are none that PNG holds")
    if image.bands != colours + image.hasalpha():
        raise CannotConvertError("it has channels beyond colours and transparency")
