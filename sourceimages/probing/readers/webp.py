"""WebP. In animations, uncovered parts are transparent; the background color is ignored."""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import pyvips
from PIL import Image

from . import alpha, composition
from .canvas import Area, Frame, covers_canvas
from .composition import DrawnFrame
from .header import CorruptFileError, HeaderInfo, read_exactly
from .structure import EMPTY, SHORT, size_of

RIFF_HEADER_SIZE = 12
FRAME_HEADER_SIZE = 16
PIXELS = (b"VP8 ", b"VP8L")


def read(file: BinaryIO) -> HeaderInfo:
    match next(_chunks(file), None):
        case b"VP8X":
            head = read_exactly(file, 10)
            animated = sum(1 for type in _chunks(file) if type == b"ANMF") > 1
            return HeaderInfo("webp", _uint24(head, 4) + 1, _uint24(head, 7) + 1, opaque=None, animated=animated)
        case b"VP8L":
            bits = int.from_bytes(read_exactly(file, 5)[1:], "little")
            opaque = None if bits >> 28 & 1 else True
            return HeaderInfo("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, opaque=opaque)
        case b"VP8 ":
            head = read_exactly(file, 10)
            width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
            if width and height:
                return HeaderInfo("webp", width, height, opaque=True)
    raise CorruptFileError("it has no header with a size")


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        header = read(file)
        if header.animated:
            covered = covers_canvas(header.width, header.height, _frames(file))
            return covered and composition.is_opaque(header.width, header.height, _drawn(file))
    return alpha.is_opaque(pyvips.Image.webpload(path, access="sequential", fail_on="truncated"))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The type of each chunk; the file is positioned at its content."""
    return (type for type, _ in sized_chunks(file))


def sized_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and declared size of each chunk; the file is positioned at its content."""
    position = RIFF_HEADER_SIZE
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], "little")
        yield header[:4], size
        position += 8 + size + size % 2


def _frames(file: BinaryIO) -> Iterator[Frame]:
    return (frame for frame, _, _ in _frames_with_data(file))


def _drawn(file: BinaryIO) -> Iterator[DrawnFrame]:
    for frame, over, data in _frames_with_data(file):
        content = io.BytesIO(still(data, frame.area.width, frame.area.height))
        with Image.open(content, formats=["WEBP"]) as image:
            yield DrawnFrame(frame, over, composition.alpha_of(image))


def _frames_with_data(file: BinaryIO) -> Iterator[tuple[Frame, bool, bytes]]:
    """Each frame, whether it is blended, and its chunks."""
    for type, size in sized_chunks(file):
        if type == b"ANMF":
            head = read_exactly(file, FRAME_HEADER_SIZE)
            left, top, width, height = (_uint24(head, at) for at in (0, 3, 6, 9))
            area, flags = Area(2 * left, 2 * top, width + 1, height + 1), head[15]
            frame = Frame(area, "cleared" if flags & 1 else "kept")
            yield frame, not flags & 2, file.read(size - FRAME_HEADER_SIZE)


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def problem(file: BinaryIO) -> str | None:
    end, found = size_of(file), False
    for type, size in sized_chunks(file):
        if type in (*PIXELS, b"ANMF"):
            if file.tell() + size > end:
                return SHORT
            found = found or size > (FRAME_HEADER_SIZE if type == b"ANMF" else 0)
    return None if found else EMPTY


def frames_in(file: BinaryIO) -> tuple[int, bytes]:
    """Number of complete frames of an animation; and its first frame, or the still image, as a decodable file."""
    end, whole, first = size_of(file), 0, b""
    for type, size in sized_chunks(file):
        if type == b"ANMF":
            whole += file.tell() + size <= end
            if not first:
                area = read_exactly(file, FRAME_HEADER_SIZE)
                first = still(file.read(size - FRAME_HEADER_SIZE), _uint24(area, 6) + 1, _uint24(area, 9) + 1)
    if not first:
        file.seek(0)
        first = file.read()
    return whole, first


def still(frame: bytes, width: int, height: int) -> bytes:
    """The chunks of a frame as a standalone image."""
    extended = frame.startswith(b"ALPH")
    head = struct.pack("<4sII", b"VP8X", 10, 0x10) + _three(width - 1) + _three(height - 1) if extended else b""
    return b"RIFF" + struct.pack("<I", 4 + len(head + frame)) + b"WEBP" + head + frame


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
