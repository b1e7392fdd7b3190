"""TIFF-based camera raws: format and dimensions of the photograph.

Their first directory often is a small preview, so reading them as TIFF would show and store only the preview. They are
detected by content: DNGVersion, a sensor pattern (CFA), a larger image in another directory, or compression methods of
camera makers. The file name is not used.
"""

from contextlib import suppress
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, HeaderInfo, UnsupportedFormatError
from .ifds import EXIF, Directory, Tiff

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, MAKE = 254, 256, 257, 259, 262, 271
DNG_VERSION = 50706
EXIF_WIDTH, EXIF_HEIGHT = 40962, 40963
SENSOR_TOP, SENSOR_LEFT, SENSOR_BOTTOM, SENSOR_RIGHT = 4, 5, 6, 7  # of Panasonic

REDUCED = 1  # bit of NewSubfileType
SENSOR = {32803, 34892}  # photometric interpretations: color filter array, linear raw
RAW_COMPRESSIONS = {32767, 32769, 32770, 32772, 34713, 65000, 65535}  # of Sony, Epson, Samsung, Nikon, Kodak, Pentax
JPEG = 6  # compression
SIZE_IN_EXIF = {"cr2", "iiq"}
MAX_IMAGES = 64  # directories read

MAKERS = (  # value of the Make tag (prefix) and the TIFF-based format of that maker
    ("nikon", "nef"),
    ("sony", "arw"),
    ("pentax", "pef"),
    ("asahi", "pef"),
    ("ricoh", "pef"),
    ("samsung", "srw"),
    ("hasselblad", "3fr"),
    ("imacon", "fff"),
    ("phase one", "iiq"),
    ("leaf", "mos"),
    ("mamiya", "mef"),
    ("seiko epson", "erf"),
    ("eastman kodak", "dcr"),
    ("kodak", "kdc"),
    ("leica", "rwl"),
)


class Image(NamedTuple):
    width: int
    height: int
    reduced: bool
    sensor: bool  # sensor data, not colors
    below: bool  # in a directory that another one refers to (SubIFDs)

    @property
    def area(self) -> int:
        return self.width * self.height


def read(tiff: Tiff) -> HeaderInfo | None:
    """Format and size of a raw; None for an ordinary TIFF. Raises UnsupportedFormatError if the maker is unknown."""
    first, images = tiff.directory(tiff.first), _images(tiff)
    if DNG_VERSION in first.entries:
        return _facts("dng", images)
    if not any(image.sensor for image in images) and not any(image.below for image in _behind_preview(images)):
        return None
    make = tiff.text(first, MAKE).casefold()
    format = next((format for maker, format in MAKERS if make.startswith(maker)), "")
    if format == "nef" and tiff.number(first, COMPRESSION) == JPEG:
        format = "nrw"
    if format:
        return _facts(format, images)
    if any(image.sensor for image in images):
        raise UnsupportedFormatError("The file format is not supported: camera raw of an unknown maker.")
    return None


def hides_image(tiff: Tiff) -> bool:
    """Return whether the first image may not be the main one: a preview of a larger image, or of sensor data."""
    images = _images(tiff)
    return images[0].reduced or any(image.sensor or image.area > images[0].area for image in images)


def _read_named(format: str, file: BinaryIO) -> HeaderInfo:
    """A raw whose signature identifies its format."""
    tiff = Tiff(file)
    first = tiff.directory(tiff.first)
    if format == "rw2":
        top, left, bottom, right = (
            tiff.number(first, tag) for tag in (SENSOR_TOP, SENSOR_LEFT, SENSOR_BOTTOM, SENSOR_RIGHT)
        )
        return _sized(format, right - left, bottom - top)
    for exif in tiff.children(first, EXIF)[:1]:
        # In most formats the first image is a preview, and the sensor image has borders.
        width, height = tiff.number(exif, EXIF_WIDTH), tiff.number(exif, EXIF_HEIGHT)
        if format in SIZE_IN_EXIF and width and height:
            return _sized(format, width, height)
    return _facts(format, _images(tiff))


read_cr2, read_iiq, read_orf, read_rw2 = (partial(_read_named, format) for format in ("cr2", "iiq", "orf", "rw2"))


def _images(tiff: Tiff) -> list[Image]:
    """The images of all readable directories: the chain first, then the subdirectories."""
    directories = [tiff.directory(tiff.first)]
    with suppress(CorruptFileError):  # data after the first image may be invalid
        directories.extend(islice(tiff.chain(), 1, None))
    images = [_image(tiff, directory, below=False) for directory in directories]
    while directories and len(images) < MAX_IMAGES:
        with suppress(CorruptFileError):
            children = tiff.children(directories.pop(0))
            images += [_image(tiff, child, below=True) for child in children]
            directories += children
    return images


def _image(tiff: Tiff, directory: Directory, *, below: bool) -> Image:
    photometric, compression = tiff.number(directory, PHOTOMETRIC), tiff.number(directory, COMPRESSION)
    return Image(
        tiff.number(directory, WIDTH),
        tiff.number(directory, HEIGHT),
        reduced=bool(tiff.number(directory, NEW_SUBFILE_TYPE) & REDUCED),
        sensor=photometric in SENSOR or compression in RAW_COMPRESSIONS,
        below=below,
    )


def _behind_preview(images: list[Image]) -> list[Image]:
    """The images that the first image, if it is a preview, can be a preview of."""
    first, *others = images
    return [image for image in others if first.reduced and not image.reduced and image.area > first.area]


def _facts(format: str, images: list[Image]) -> HeaderInfo:
    full = [image for image in images if not image.reduced] or images
    photograph = max([image for image in full if image.sensor] or full, key=lambda image: image.area)
    return _sized(format, photograph.width, photograph.height)


def _sized(format: str, width: int, height: int) -> HeaderInfo:
    if width <= 0 or height <= 0:
        raise CorruptFileError("its photograph has no dimensions")
    return HeaderInfo(format, width, height, opaque=True)
