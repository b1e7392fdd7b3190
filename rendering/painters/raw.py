"""Camera raws: the largest JPEG that they embed as a preview, or a plain one. Sensor data is not developed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from sourceimages.probing.readers import formats
from sourceimages.probing.readers.header import CorruptFileError
from sourceimages.probing.readers.ifds import Directory, Tiff

from .problems import UnreadableSource
from .sizes import Size

FORMATS = {"dng", "nef", "nrw", "cr2", "arw", "pef", "srw", "orf", "rw2", "3fr", "iiq"}
ORIENTATION = 274
PHOTOMETRIC, COLORS = 262, {2, 6}  # tag, and its values for RGB and YCbCr
STRIPS, STRIP_SIZES = 273, 279  # tags of addresses and sizes
JPEG, JPEG_SIZE = 513, 514
PANASONIC_JPEG = 46
MAX_PREVIEW_BYTES = 128 * 2**20
MAX_DIRECTORIES = 64
START_OF_IMAGE = b"\xff\xd8"
BASELINE, PROGRESSIVE = 0xC0, 0xC2  # frame markers that the decoder reads; sensor data uses 0xC3, which is lossless


class Preview(NamedTuple):
    data: bytes  # empty: the preview is the first image of the file, read as TIFF
    orientation: int
    photograph: Size


def find_preview(path: str) -> Preview:
    """Raises UnreadableSource if the file has no preview."""
    header = formats.read(path)
    with open(path, "rb") as file:
        tiff = Tiff(file)
        found = max(_jpegs(tiff), key=len, default=b"")
        first = tiff.directory(tiff.first)
        turn = tiff.number(first, ORIENTATION)
        plain = tiff.number(first, PHOTOMETRIC) in COLORS
    if not found and not plain:
        raise UnreadableSource("The camera raw has no preview that can be decoded. Upload a JPEG of it.")
    return Preview(found, turn if 1 <= turn <= 8 else 1, Size(header.width, header.height))


def _jpegs(tiff: Tiff) -> Iterator[bytes]:
    for directory in _directories(tiff):
        for address, size in _parts(tiff, directory):
            if 0 < size <= MAX_PREVIEW_BYTES:
                tiff.file.seek(tiff.start + address)
                data = tiff.file.read(size)
                if _is_decodable(data):
                    yield data


def _directories(tiff: Tiff) -> list[Directory]:
    found = [tiff.directory(tiff.first)]
    with suppress(CorruptFileError):
        found += list(tiff.chain())[1:MAX_DIRECTORIES]
    waiting = list(found)
    while waiting and len(found) < MAX_DIRECTORIES:
        with suppress(CorruptFileError):
            children = tiff.children(waiting.pop(0))
            found += children
            waiting += children
    return found


def _parts(tiff: Tiff, directory: Directory) -> Iterator[tuple[int, int]]:
    """Addresses and sizes of what may be a JPEG."""
    if JPEG in directory.entries:
        yield tiff.number(directory, JPEG), tiff.number(directory, JPEG_SIZE)
    if STRIPS in directory.entries and len(strips := tiff.numbers(directory, STRIPS)) == 1:
        yield strips[0], tiff.number(directory, STRIP_SIZES)
    if entry := directory.entries.get(PANASONIC_JPEG):
        yield int.from_bytes(entry.field[:4], "little"), entry.length


def _is_decodable(data: bytes) -> bool:
    """Whether this is a JPEG with a frame that is not lossless."""
    if not data.startswith(START_OF_IMAGE):
        return False
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in (BASELINE, 0xC1, PROGRESSIVE)
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return False
