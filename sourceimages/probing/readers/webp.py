"""WebP. In an animation, what no frame has drawn upon is transparent, whatever its background colour says."""

from collections.abc import Iterator
from typing import BinaryIO

import pyvips

from . import alpha
from .canvas import Area, Frame, always_covered
from .facts import Facts, UnreadableError, take

RIFF_HEADER_SIZE = 12


def read(file: BinaryIO) -> Facts:
    match next(_chunks(file), None):
        case b"VP8X":
            head = take(file, 10)
            animated = sum(1 for type in _chunks(file) if type == b"ANMF") > 1
            return Facts("webp", _uint24(head, 4) + 1, _uint24(head, 7) + 1, opaque=None, animated=animated)
        case b"VP8L":
            bits = int.from_bytes(take(file, 5)[1:], "little")
            opaque = None if bits >> 28 & 1 else True
            return Facts("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, opaque=opaque)
        case b"VP8 ":
            head = take(file, 10)
            width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
            if width and height:
                return Facts("webp", width, height, opaque=True)
    raise UnreadableError("it has no header with a size")


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        facts = read(file)
        if facts.animated and not always_covered(facts.width, facts.height, _frames(file)):
            return False
    return alpha.is_full(pyvips.Image.webpload(path, n=-1, access="sequential", fail_on="truncated"))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The type of each chunk, the file standing at its content."""
    position = RIFF_HEADER_SIZE
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        yield header[:4]
        size = int.from_bytes(header[4:], "little")
        position += 8 + size + size % 2


def _frames(file: BinaryIO) -> Iterator[Frame]:
    for type in _chunks(file):
        if type == b"ANMF":
            head = take(file, 16)
            left, top, width, height = (_uint24(head, at) for at in (0, 3, 6, 9))
            yield Frame(Area(2 * left, 2 * top, width + 1, height + 1), "cleared" if head[15] & 1 else "kept")


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
