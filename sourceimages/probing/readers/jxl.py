"""JPEG XL: bare codestreams and containers.

The header is parsed here, so that nothing else is needed to measure one. The size includes the orientation of the
codestream, which every decoder applies.
"""

from collections.abc import Callable
from typing import BinaryIO

from . import jxl_frames
from .boxes import first_cut_off, walk
from .header import CorruptFileError, HeaderInfo
from .native import LibraryMissingError
from .structure import EMPTY, SHORT

HEADER_SIZE = 16 * 1024  # names of extra channels can be long; without them the header is a few bytes
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
MAX_PIXELS = 20_000_000  # limit of frames decoded to find their end: what fits into the memory of a worker
BARE = b"\xff\x0a"
ALPHA, SPOT_COLOR, COLOR_FILTER = 0, 2, 5  # kinds of extra channels


class Bits:
    """Reads numbers bit by bit, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise CorruptFileError("it ends too early")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def flag(self) -> bool:
        return self.take(1) == 1

    def u32(self, *choices: tuple[int, int]) -> int:
        """A U32 of the specification: two bits select one of four (bit count, offset) pairs."""
        count, offset = choices[self.take(2)]
        return offset + self.take(count)


def read(file: BinaryIO) -> HeaderInfo:
    bits = Bits(_codestream(file)[2:HEADER_SIZE])
    width, height = _size(bits)
    turned = has_alpha = animated = False
    all_default = bits.flag()
    if not all_default:
        if bits.flag():
            turned = bits.take(3) >= 4
            if bits.flag():
                _size(bits)  # intrinsic size
            if bits.flag():
                _preview_size(bits)
            if animated := bits.flag():
                _skip_animation(bits)
        _skip_bit_depth(bits)
        bits.flag()  # whether 16-bit buffers are sufficient
        channels = bits.u32((0, 0), (0, 1), (4, 2), (12, 1))
        has_alpha = any(_extra_channel(bits) == ALPHA for _ in range(channels))
    if turned:
        width, height = height, width
    return HeaderInfo("jxl", width, height, opaque=None if has_alpha else True, animated=animated)


def is_opaque(path: str) -> bool:
    """Return whether all composed frames are opaque."""
    with open(path, "rb") as file:
        data = file.read()
    return jxl_frames.all_frames_opaque(data)


def _codestream(file: BinaryIO) -> bytes:
    """The start of the codestream, which a container can hold in parts."""
    file.seek(0)
    head = file.read(HEADER_SIZE)
    if head.startswith(BARE):
        return head
    for box in walk(file):
        if box.type == b"jxlc":
            return box.content(HEADER_SIZE)
        if box.type == b"jxlp":
            return box.content(HEADER_SIZE)[4:]  # without the part number
    raise CorruptFileError("it has no codestream")


def _size(bits: Bits) -> tuple[int, int]:
    small = bits.flag()

    def side() -> int:
        return (bits.take(5) + 1) * 8 if small else bits.u32((9, 1), (13, 1), (18, 1), (30, 1))

    return _sides(bits, side)


def _preview_size(bits: Bits) -> tuple[int, int]:
    by_eight = bits.flag()

    def side() -> int:
        if by_eight:
            return bits.u32((0, 16), (0, 32), (5, 1), (9, 33)) * 8
        return bits.u32((6, 1), (8, 65), (10, 321), (12, 1345))

    return _sides(bits, side)


def _sides(bits: Bits, side: Callable[[], int]) -> tuple[int, int]:
    """Width and height. The height comes first; the width can be a ratio of it."""
    height = side()
    ratio = bits.take(3)
    if not ratio:
        return side(), height
    over, under = RATIOS[ratio]
    return height * over // under, height


def _skip_animation(bits: Bits) -> None:
    bits.u32((0, 100), (0, 1000), (10, 1), (30, 1))  # clock rate
    bits.u32((0, 1), (0, 1001), (8, 1), (10, 1))  # clock rate: denominator
    bits.u32((0, 0), (3, 0), (16, 0), (32, 0))  # loops
    bits.flag()  # time codes


def _skip_bit_depth(bits: Bits) -> None:
    if bits.flag():  # floating point
        bits.u32((0, 32), (0, 16), (0, 24), (6, 1))
        bits.take(4)
    else:
        bits.u32((0, 8), (0, 10), (0, 12), (6, 1))


def _extra_channel(bits: Bits) -> int:
    """Skip the description of an extra channel; return its type."""
    if bits.flag():
        return ALPHA
    kind = bits.u32((0, 0), (0, 1), (4, 2), (6, 18))
    _skip_bit_depth(bits)
    bits.u32((0, 0), (0, 3), (0, 4), (3, 1))  # dimension shift
    name_length = bits.u32((0, 0), (4, 0), (5, 16), (10, 48))
    bits.take(8 * name_length)
    if kind == ALPHA:
        bits.flag()  # premultiplied
    elif kind == SPOT_COLOR:
        bits.take(4 * 16)
    elif kind == COLOR_FILTER:
        bits.u32((0, 1), (2, 0), (4, 3), (8, 19))
    return kind


def problem(file: BinaryIO) -> str | None:
    """The structural problem, if any. Containers declare their end; for bare codestreams the last frame is decoded."""
    file.seek(0)
    data = file.read()
    try:
        found = jxl_frames.count(data)
        if found.complete and data.startswith(BARE) and found.pixels <= MAX_PIXELS:
            found = found._replace(complete=jxl_frames.ends_whole(data, found.number))
    except LibraryMissingError:
        return None
    if found.complete and not first_cut_off(file):
        return None
    return SHORT if found.number else EMPTY
