"""PNG and APNG.

The header is parsed here, not by a library, so that text chunks which inflate to gigabytes are skipped.
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
SEQUENCE_SIZE = 4  # bytes; a sequence number precedes the data of each frame
CHUNK = 2**20  # bytes inflated at once
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
MAX_CHECKED_BYTES = 2**21  # bytes of pixels; smaller images are inflated to check their completeness
MAX_EXPANSION = 1032  # maximum expansion of zlib
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
WITH_ALPHA = (4, 6)  # color types
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
            width, height, color_type = struct.unpack(">IIxB3x", read_exactly(file, 13))
            has_alpha = color_type in WITH_ALPHA
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
    """Type and size of each chunk; the file is positioned at its content."""
    position = SIGNATURE_SIZE
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        size, type = struct.unpack(">I4s", header)
        yield type, size
        position += 8 + size + 4  # skips the checksum


def _frames(file: BinaryIO) -> Iterator[Frame]:
    return (frame for frame, _, _ in _frames_with_data(file) if frame)


def _drawn(file: BinaryIO) -> Iterator[DrawnFrame]:
    """The frames of the animation. If the first one restores the canvas, it is cleared instead."""
    head = _head(file)
    for number, (frame, over, data) in enumerate(_frames_with_data(file)):
        if frame:
            drawn = DrawnFrame(
                frame, over, composition.alpha_of(_decoded(head, frame.area.width, frame.area.height, data))
            )
            nothing_before = number == 0 and frame.disposal == "restored"
            yield drawn._replace(frame=frame._replace(disposal="cleared")) if nothing_before else drawn


def _is_default_opaque(file: BinaryIO) -> bool:
    """Return whether the default image is opaque. Viewers without animation support show it; it may not be a frame."""
    frame, _, data = next(_frames_with_data(file))
    if frame:
        return True
    header = _header(file)
    alpha = composition.alpha_of(_decoded(_head(file), header.width, header.height, data))
    return alpha is None or alpha.getextrema()[0] == composition.OPAQUE


def _frames_with_data(file: BinaryIO) -> Iterator[tuple[Frame | None, bool, bytes]]:
    """Each frame, whether it is blended, and its data; None for a default image that is not a frame."""
    frame, over, data, started = None, False, b"", False
    for type, size in chunks(file):
        if type == b"fcTL":
            if started:
                yield frame, over, data
            width, height, left, top, disposal, blend = struct.unpack(">4x4I4xBB", read_exactly(file, 26))
            frame, over, data, started = (
                Frame(Area(left, top, width, height), DISPOSAL[disposal]),
                blend == 1,
                b"",
                True,
            )
        elif type == b"IDAT":
            data, started = data + file.read(size), True
        elif type == b"fdAT":
            data += file.read(size)[SEQUENCE_SIZE:]
    if started:
        yield frame, over, data


def _head(file: BinaryIO) -> bytes:
    """The header fields that all frames share (depth, color type), followed by palette and transparency chunks."""
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
    """A frame as a standalone image."""
    header = _chunk(b"IHDR", struct.pack(">II", width, height) + head[:5])
    content = SIGNATURE + header + head[5:] + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return Image.open(io.BytesIO(content), formats=["PNG"])


def _chunk(type: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + type + data + struct.pack(">I", zlib.crc32(type + data))


def problem(file: BinaryIO) -> str | None:
    end, size, ended = size_of(file), 0, False
    for type, length in chunks(file):
        if type == b"CgBI":  # Apple's PNG variant for apps, which is not standard PNG
            return None
        if file.tell() + length + 4 > end:
            return SHORT if size or type == b"IDAT" else EMPTY
        size += length if type == b"IDAT" else 0
        if ended := type == b"IEND":
            break
    if not size:
        return EMPTY
    expected = sum(rows * row for rows, row in passes(file))
    available = inflated(file, expected) if expected <= MAX_CHECKED_BYTES else size * MAX_EXPANSION
    return None if ended and available >= expected else SHORT


def passes(file: BinaryIO) -> list[tuple[int, int]]:
    """Number of rows and uncompressed bytes per row of each pass; a single pass if not interlaced."""
    file.seek(SIGNATURE_SIZE + 8)
    width, height, depth, color_type, interlaced = struct.unpack(">IIBBxxB", read_exactly(file, 13))
    bits = depth * SAMPLES[color_type]
    parts = PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-((top - height) // down), -((left - width) // across)) for left, top, across, down in parts]
    return [(rows, 1 + -(-columns * bits // 8)) for rows, columns in sizes if rows > 0 and columns > 0]


def inflated(file: BinaryIO, limit: int) -> int:
    """Number of bytes that the pixel data inflates to, up to `limit`."""
    size, inflate = 0, zlib.decompressobj()
    for type, length in chunks(file):
        if type == b"IDAT":
            data = file.read(length)
            try:
                while data and size < limit:
                    size += len(inflate.decompress(data, CHUNK))
                    data = inflate.unconsumed_tail
            except zlib.error:
                break
            if size >= limit or inflate.eof:
                break
    return size


def frame_counts(file: BinaryIO) -> tuple[int, int]:
    """Number of frames that the animation declares, and of complete frames in the file."""
    end, declared, whole = size_of(file), 0, 0
    started = complete = False
    for type, size in chunks(file):
        if type == b"acTL":
            declared = int.from_bytes(read_exactly(file, 4))
        elif type in (b"fcTL", b"IEND"):
            whole += started and complete
            started, complete = type == b"fcTL", False
        elif type in (b"IDAT", b"fdAT"):
            complete = file.tell() + size + 4 <= end
    return declared, whole
