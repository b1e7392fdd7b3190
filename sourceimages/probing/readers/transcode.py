"""Transcode TIFF and PSD to lossless PNG, or to high-quality JPEG or WebP, including their metadata.

Files are skipped if the target format can't hold everything, or if the result does not read back the same.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pyvips

from . import alpha, camera_raw, carried, embedding, metadata, psd_decode
from .carried import Carried
from .header import CannotConvertError, CorruptFileError, UnsupportedFormatError
from .ifds import Tiff

MAX_JPEG_SIDE, MAX_WEBP_SIDE = 65_500, 16_383  # pixels per side
QUALITY = 92
MAX_OPTIMIZED_PIXELS = 50_000_000  # pixels
EXTRA_SAMPLES, PREMULTIPLIED = 338, 1  # TIFF tag, and its value for premultiplied alpha
INTEGER_FORMATS = ("uchar", "ushort")  # sample types of PNG
COLOR_SPACES = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3}  # bands without alpha
PROFILE = "icc-profile-data"
COMPARED = ("exif", "location", "iptc", "xmp", "icc")  # metadata groups that must not change


class OutputFile(NamedTuple):
    """A file inherited open for writing: this process can't open files for writing."""

    path: str
    descriptor: int

    def target(self) -> pyvips.Target:
        return pyvips.Target.new_to_descriptor(self.descriptor)


Load = Callable[[], pyvips.Image]


def transcode(path: str, format: str, to: str, out: OutputFile, scratch: OutputFile) -> dict[str, Any]:
    """Write the image to `out`. Return {"format": …}, or {"skipped_reason": …}."""

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
        return {"skipped_reason": f"it can't be read: {_reason(error)}"}


def _check_first_image(path: str) -> None:
    """Check that the first image is the main and only one. Raises CannotConvertError."""
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
            raise CannotConvertError("its alpha is premultiplied")


def _carried(path: str, format: str) -> Carried:
    with open(path, "rb") as file:
        return carried.from_tiff(file) if format == "tif" else carried.from_psd(file)


def _check_declared(before: metadata.Groups, after: metadata.Groups, converted: bool) -> None:
    """Check that metadata did not change, except the profile if colors were converted. Raises CannotConvertError."""
    for group in COMPARED:
        if before.get(group) != after.get(group) and not (converted and group == "icc"):
            raise CannotConvertError(f"its metadata ({group}) changed in the conversion")


def _reason(error: Exception) -> str:
    """The cause of an error. libvips names the failed operation first, then the message of the underlying library."""
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
        raise CannotConvertError("the dimensions or bands of the written file differ")
    if (written == load()).min() != 255:
        raise CannotConvertError("the pixels of the written file differ")
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
        raise CannotConvertError(f"{side} pixels per side exceed the limit of {'WebP' if transparent else 'JPEG'}")
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
        fits_into_memory = (
            image.width * image.height <= MAX_OPTIMIZED_PIXELS
        )  # to optimize its tables, libjpeg keeps the whole image in memory
        image.jpegsave_target(target, Q=QUALITY, optimize_coding=fits_into_memory, subsample_mode="off", keep="icc")
        written = pyvips.Image.jpegload(out.path, access="sequential", fail_on="warning")
    if (written.width, written.height) != (image.width, image.height):
        raise CannotConvertError("the dimensions of the written file differ")
    written.avg()  # checks that all of it can be decoded
    _check_profile(image, written)
    return "webp" if transparent else "jpg", converted


def _check_profile(image: pyvips.Image, written: pyvips.Image) -> None:
    if _profile(image) != _profile(written):
        raise CannotConvertError("its color profile changed in the conversion")


def _profile(image: pyvips.Image) -> bytes:
    return bytes(image.get(PROFILE)) if image.get_typeof(PROFILE) else b""


def _check_samples(image: pyvips.Image) -> None:
    if image.format not in INTEGER_FORMATS:
        raise CannotConvertError(f"its sample format {image.format} is not supported")


def _check_bands(image: pyvips.Image) -> None:
    color_bands = COLOR_SPACES.get(image.interpretation)
    if color_bands is None:
        raise CannotConvertError(f"PNG does not support its color space ({image.interpretation})")
    if image.bands != color_bands + image.hasalpha():
        raise CannotConvertError("it has channels beyond colors and transparency")
