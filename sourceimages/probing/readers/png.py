"""PNG and APNG.

The header is read here and not by a library: a text chunk that would inflate to gigabytes is then simply passed by.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

import pyvips
from PIL import Image

from . import alpha, composition
from .canvas import Area, Frame, covers_canvas
from .composition import DrawnFrame
from .header import CorruptFileError, HeaderInfo, read_exactly
from .structure import EMPTY, SHORT, size_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIGNATURE_SIZE = len(SIGNATURE)
SEQUENCE_SIZE = 4  # bytes of a number before the pixels of a frame
CHUNK = 2**20  # bytes that are inflated at once
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
SMALL_IMAGE_PIXELS = 2**21  # bytes of pixels, which are inflated to see whether they are all there
MAX_INFLATED_BYTES = 1032  # bytes that one byte of zlib can stand for
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # of Adam7
WITH_ALPHA = (4, 6)  # colour types
DISPOSAL: dict[int, Literal["kept", "cleared", "restored"]] = {0: "kept", 1: "cleared", 2: "restored"}


class Header(NamedTuple):
    width: int
    height: int
    has_alpha: bool
    animated: bool


def read(file: BinaryIO) -> HeaderInfo:
    header = _header(file)
    opaque = None if header.has_alpha or header.animated else True
    return HeaderInfo("png", header.width, header.height, opaque=opaque, animated=header.animated)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        header = _header(file)
        if header.animated and not covers_canvas(header.width, header.height, _frames(file)):
            return False
    if not header.has_alpha:
        return True
    if header.animated:
        with open(path, "rb") as file:
            return composition.is_opaque(header.width, header.height, _drawn(file)) and _is_default_opaque(file)
    return alpha.is_opaque(pyvips.Image.pngload(path, access="sequential", fail_on="truncated"))


def _header(file: BinaryIO) -> Header:
    width = height = frame_count = 0
    has_alpha = False
    for type, size in chunks(file):
        if type == b"IHDR":
            width, height, colour = struct.unpack(">IIxB3x", read_exactly(file, 13))
            has_alpha = colour in WITH_ALPHA
        elif type == b"tRNS":
            has_alpha = has_alpha or size > 0
        elif type == b"acTL":
            frame_count = int.from_bytes(read_exactly(file, 4))
        elif type == b"IDAT":
            break
    if not width or not height:
        raise CorruptFileError("it has no header with a size")
    return Header(width, height, has_alpha, animated=frame_count > 1)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and size of each chunk, the file standing at its content."""
    position = SIGNATURE_SIZE
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        size, type = struct.unpack(">I4s", header)
        yield type, size
        position += 8 + size + 4  # a checksum follows


def _frames(file: BinaryIO) -> Iterator[Frame]:
    return (frame for frame, _, _ in _frames_with_data(file) if frame)


def _drawn(file: BinaryIO) -> Iterator[DrawnFrame]:
    """The frames of the animation. What the first one leaves to restore is a transparent canvas."""
    head = _head(file)
    for number, (frame, over, data) in enumerate(_frames_with_data(file)):
        if frame:
            drawn = DrawnFrame(
                frame, over, composition.alpha_of(_decoded(head, frame.area.width, frame.area.height, data))
            )
            nothing_before = number == 0 and frame.disposal == "restored"
            yield drawn._replace(frame=frame._replace(disposal="cleared")) if nothing_before else drawn


def _is_default_opaque(file: BinaryIO) -> bool:
    """The image that viewers without animation show; it may be none of the frames."""
    frame, _, data = next(_frames_with_data(file))
    if frame:
        return True
    header = _header(file)
    alpha = composition.alpha_of(_decoded(_head(file), header.width, header.height, data))
    return alpha is None or alpha.getextrema()[0] == composition.OPAQUE


def _frames_with_data(file: BinaryIO) -> Iterator[tuple[Frame | None, bool, bytes]]:
    """Each frame, whether it is drawn over what is there, and its pixels; no frame for an image before all of them."""
    frame, over, data, begun = None, False, b"", False
    for type, size in chunks(file):
        if type == b"fcTL":
            if begun:
                yield frame, over, data
            width, height, left, top, afterwards, blend = struct.unpack(">4x4I4xBB", read_exactly(file, 26))
            frame, over, data, begun = (
                Frame(Area(left, top, width, height), DISPOSAL[afterwards]),
                blend == 1,
                b"",
                True,
            )
        elif type == b"IDAT":
            data, begun = data + file.read(size), True
        elif type == b"fdAT":
            data += file.read(size)[SEQUENCE_SIZE:]
    if begun:
        yield frame, over, data


def _head(file: BinaryIO) -> bytes:
    """What the frames have in common: depth and colour type at the end of the header; palette and transparency."""
    header, rest = b"", b""
    for type, size in chunks(file):
        if type == b"IHDR":
            header = read_exactly(file, 13)[8:]
        elif type in (b"PLTE", b"tRNS"):
            rest += _chunk(type, read_exactly(file, size))
        elif type == b"IDAT":
            break
    return header + rest


def _decoded(head: bytes, width: int, height: int, data: bytes) -> Image.Image:
    """A frame as an image of its own."""
    header = _chunk(b"IHDR", struct.pack(">II", width, height) + head[:5])
    content = SIGNATURE + header + head[5:] + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return Image.open(io.BytesIO(content), formats=["PNG"])


def _chunk(type: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + type + data + struct.pack(">I", zlib.crc32(type + data))


def problem(file: BinaryIO) -> str | None:
    end, size, ended = size_of(file), 0, False
    for type, length in chunks(file):
        if type == b"CgBI":  # as Apple packs images into apps: not in the way of PNG
            return None
        if file.tell() + length + 4 > end:
            return SHORT if size or type == b"IDAT" else EMPTY
        size += length if type == b"IDAT" else 0
        if ended := type == b"IEND":
            break
    if not size:
        return EMPTY
    wanted = sum(rows * row for rows, row in passes(file))
    most = inflated(file, wanted) if wanted <= SMALL_IMAGE_PIXELS else size * MAX_INFLATED_BYTES
    return None if ended and most >= wanted else SHORT


def passes(file: BinaryIO) -> list[tuple[int, int]]:
    """How many rows there are, and how many bytes one of them is without compression; by pass if it is interlaced."""
    file.seek(SIGNATURE_SIZE + 8)
    width, height, depth, colour, interlaced = struct.unpack(">IIBBxxB", read_exactly(file, 13))
    bits = depth * SAMPLES[colour]
    parts = PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-((top - height) // down), -((left - width) // across)) for left, top, across, down in parts]
    return [(rows, 1 + -(-columns * bits // 8)) for rows, columns in sizes if rows > 0 and columns > 0]


def inflated(file: BinaryIO, most: int) -> int:
    """How many bytes of the pixels there are in the file, and no more than these."""
    size, inflate = 0, zlib.decompressobj()
    for type, length in chunks(file):
        if type == b"IDAT":
            data = file.read(length)
            try:
                while data and size < most:
                    size += len(inflate.decompress(data, CHUNK))
                    data = inflate.unconsumed_tail
            except zlib.error:
                break
            if size >= most or inflate.eof:
                break
    return size


def frame_counts(file: BinaryIO) -> tuple[int, int]:
    """How many frames an animation announces, and how many are in the file as a whole."""
    end, announced, whole = size_of(file), 0, 0
    begun = complete = False
    for type, size in chunks(file):
        if type == b"acTL":
            announced = int.from_bytes(read_exactly(file, 4))
        elif type in (b"fcTL", b"IEND"):
            whole += begun and complete
            begun, complete = type == b"fcTL", False
        elif type in (b"IDAT", b"fdAT"):
            complete = file.tell() + size + 4 <= end
    return announced, whole
