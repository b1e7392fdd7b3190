"""Camera raws that are built like a TIFF: which one it is, and the size of the photograph.

Their first directory often is only a small preview, so whoever takes them for a TIFF shows, and keeps, the preview.
What tells them apart is in the file: DNGVersion, the pattern of a sensor (CFA), a larger image in another directory
than the first, the compression methods of makers. The name of the file is never asked.
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
SENSOR = {32803, 34892}  # photometric interpretations: a colour filter array, linear raw
RAW_COMPRESSIONS = {32767, 32769, 32770, 32772, 34713, 65000, 65535}  # of Sony, Epson, Samsung, Nikon, Kodak, Pentax
JPEG = 6  # compression
SIZE_IN_EXIF = {"cr2", "iiq"}
MAX_IMAGES = 64  # directories that are looked at

MAKERS = (  # how the makers call themselves in the file, and the format of theirs that is built like a TIFF
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
    sensor: bool  # what a sensor saw, not colours
    below: bool  # in a directory that another one points to (SubIFDs)

    @property
    def area(self) -> int:
        return self.width * self.height


def read(tiff: Tiff) -> HeaderInfo | None:
    """Format and size of a raw; None for an ordinary TIFF. NotKeptError for a raw of a maker that is not known here."""
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
        raise UnsupportedFormatError("The file is of a format that is not kept: a camera raw of an unknown maker.")
    return None


def hides_image(tiff: Tiff) -> bool:
    """Whether the first image may not be the one that counts: a preview of a larger one, or of what a sensor saw."""
    images = _images(tiff)
    return images[0].reduced or any(image.sensor or image.area > images[0].area for image in images)


def _read_named(format: str, file: BinaryIO) -> HeaderInfo:
    """A raw whose first bytes tell its format."""
    tiff = Tiff(file)
    first = tiff.directory(tiff.first)
    if format == "rw2":
        top, left, bottom, right = (
            tiff.number(first, tag) for tag in (SENSOR_TOP, SENSOR_LEFT, SENSOR_BOTTOM, SENSOR_RIGHT)
        )
        return _sized(format, right - left, bottom - top)
    for exif in tiff.children(first, EXIF)[:1]:
        # In most the first image is a small one, and that of the sensor has borders.
        width, height = tiff.number(exif, EXIF_WIDTH), tiff.number(exif, EXIF_HEIGHT)
        if format in SIZE_IN_EXIF and width and height:
            return _sized(format, width, height)
    return _facts(format, _images(tiff))


read_cr2, read_iiq, read_orf, read_rw2 = (partial(_read_named, format) for format in ("cr2", "iiq", "orf", "rw2"))


def _images(tiff: Tiff) -> list[Image]:
    """The images of all directories that can be read: the chain, the first one first, and then what is below."""
    directories = [tiff.directory(tiff.first)]
    with suppress(CorruptFileError):  # what comes after the first image may be anything
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
    """Those that the first image, if it is a preview, can be a preview of."""
    first, *others = images
    return [image for image in others if first.reduced and not image.reduced and image.area > first.area]


def _facts(format: str, images: list[Image]) -> HeaderInfo:
    full = [image for image in images if not image.reduced] or images
    photograph = max([image for image in full if image.sensor] or full, key=lambda image: image.area)
    return _sized(format, photograph.width, photograph.height)


def _sized(format: str, width: int, height: int) -> HeaderInfo:
    if width <= 0 or height <= 0:
        raise CorruptFileError("its photograph has no size")
    return HeaderInfo(format, width, height, opaque=True)
