"""Formats that are decoded at once: AVIF by libvips, HEIC by Pillow, JPEG XL by libjxl, PSD by Pillow or by readers."""

import os
import warnings
from collections.abc import Callable

import pyvips
from PIL import ExifTags, Image

from sourceimages.probing.readers import formats, frames, psd_decode  # noqa: F401 (frames: no threads of Pillow)
from sourceimages.probing.readers.header import CannotConvertError, CorruptFileError

from . import jpeg_xl, orientation, to_srgb
from .channels import resample
from .problems import UnreadableSource, check_pixels
from .sizes import Size
from .source import Source

PILLOW_FORMATS = {"avif": "AVIF", "heic": "HEIF", "psd": "PSD", "tif": "TIFF"}
SECOND_DECODER = {"tif"}  # formats that libvips decodes first
PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")


def open_source(path: str, format: str, max_pixels: int) -> Source:
    header = formats.read(path)
    if header.format != format:
        raise UnreadableSource(f"The source is not a valid {format}.")
    check_pixels(header.width, header.height, max_pixels, hint="Upload a smaller image.")
    image, turn = READERS[format](path)
    stored = Size(image.width, image.height)

    def decode(target: Size | None) -> list[pyvips.Image]:
        sized = resample(image, *orientation.upright(target, turn)) if target else image
        return [orientation.apply(to_srgb.convert(sized).copy_memory(), turn)]

    return Source(orientation.upright(stored, turn), decode, transform=orientation.transform(stored, turn))


def _avif(path: str) -> tuple[pyvips.Image, int]:
    try:
        return pyvips.Image.heifload(path, fail_on="truncated").copy_memory(), 1
    except pyvips.Error:
        return _by_pillow(path, "avif")


def _heic(path: str) -> tuple[pyvips.Image, int]:
    from sourceimages.probing.readers import heif

    heif.register_decoder()
    image, _ = _by_pillow(path, "heic")
    return image, 1


def _jxl(path: str) -> tuple[pyvips.Image, int]:
    return jpeg_xl.decode(path), 1


def _psd(path: str) -> tuple[pyvips.Image, int]:
    scratch = os.memfd_create("channels")
    try:
        psd_decode.unpack(path, scratch)
        return psd_decode.load(path, f"/proc/self/fd/{scratch}").copy_memory(), 1
    except (CannotConvertError, CorruptFileError):
        return _by_pillow(path, "psd")
    finally:
        os.close(scratch)


def _tif(path: str) -> tuple[pyvips.Image, int]:
    return _by_pillow(path, "tif")  # which applies the orientation


READERS: dict[str, Callable[[str], tuple[pyvips.Image, int]]] = {
    "avif": _avif,
    "heic": _heic,
    "jxl": _jxl,
    "psd": _psd,
    "tif": _tif,
}


def _by_pillow(path: str, format: str) -> tuple[pyvips.Image, int]:
    """The pixels with their profile, and the orientation that still has to be applied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=[PILLOW_FORMATS[format]]) as image:  # never EPS, which would start a program
            turn = _remaining_turn(image, format)
            if image.mode not in PLAIN_MODES or "transparency" in image.info:
                profile = image.info.get("icc_profile")
                converted = image.convert("RGBA" if image.has_transparency_data else "RGB")
                converted.info["icc_profile"] = profile
                return from_pillow(converted), turn
            image.load()
            return from_pillow(image), turn


def _remaining_turn(image: Image.Image, format: str) -> int:
    """Pillow reports the rotation of AVIF as EXIF orientation."""
    if format == "avif":
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    return 1


def from_pillow(image: Image.Image) -> pyvips.Image:
    bands = len(image.getbands())
    interpretation = "cmyk" if image.mode == "CMYK" else "srgb" if bands > 2 else "b-w"
    made = pyvips.Image.new_from_memory(image.tobytes(), image.width, image.height, bands, "uchar")
    return to_srgb.tagged(made, interpretation, image.info.get("icc_profile"))
