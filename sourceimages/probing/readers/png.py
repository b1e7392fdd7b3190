"""PNG and APNG.

The header is read here and not by a library: a text chunk that would inflate to gigabytes is then simply passed by.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

import pyvips

from . import alpha, frames
from .canvas import Area, Frame, always_covered
from .facts import Facts, UnreadableError, take

SIGNATURE_SIZE = 8
WITH_ALPHA = (4, 6)  # colour types
AFTERWARDS: dict[int, Literal["kept", "cleared", "restored"]] = {0: "kept", 1: "cleared", 2: "restored"}


class Header(NamedTuple):
    width: int
    height: int
    has_alpha: bool
    animated: bool


def read(file: BinaryIO) -> Facts:
    header = _header(file)
    opaque = None if header.has_alpha or header.animated else True
    return Facts("png", header.width, header.height, opaque=opaque, animated=header.animated)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        header = _header(file)
        if header.animated and not always_covered(header.width, header.height, _frames(file)):
            return False
    if not header.has_alpha:
        return True
    if header.animated:
        return frames.are_opaque(path, "PNG")
    return alpha.is_full(pyvips.Image.pngload(path, access="sequential", fail_on="truncated"))


def _header(file: BinaryIO) -> Header:
    width = height = frame_count = 0
    has_alpha = False
    for type, size in chunks(file):
        if type == b"IHDR":
            width, height, colour = struct.unpack(">IIxB3x", take(file, 13))
            has_alpha = colour in WITH_ALPHA
        elif type == b"tRNS":
            has_alpha = has_alpha or size > 0
        elif type == b"acTL":
            frame_count = int.from_bytes(take(file, 4))
        elif type == b"IDAT":
            break
    if not width or not height:
        raise UnreadableError("it has no header with a size")
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
    for type, _ in chunks(file):
        if type == b"fcTL":
            width, height, left, top, afterwards = struct.unpack(">4x4I4xBx", take(file, 26))
            yield Frame(Area(left, top, width, height), AFTERWARDS[afterwards])
