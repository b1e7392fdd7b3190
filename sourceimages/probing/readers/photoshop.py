"""PSD and PSB.

What counts is the merged picture. Its first channel beyond the colours is alpha if the number of layers is negative.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .facts import Facts, UnreadableError, take

COLOURS = {1: 1, 2: 1, 3: 3, 4: 4, 8: 1, 9: 3}  # channels by colour mode
DEEP_LAYERS = (b"Lr16", b"Lr32")  # where the layers are if a channel has 16 or 32 bits
LONG_IN_PSB = {b"LMsk", b"Lr16", b"Lr32", b"Layr", b"Mt16", b"Mt32", b"Mtrn", b"Alph", b"FMsk", b"lnk2", b"FEid",
               b"FXid", b"PxSD"}  # fmt: skip
RAW, RUN_LENGTHS = 0, 1
RESOLUTION, ICC, EXIF, XMP = 1005, 1039, 1058, 1060  # numbers of resources
LARGEST_RESOURCE = 16 * 2**20  # bytes
BLOCK = 2**20


class Header(NamedTuple):
    large: bool  # PSB: some lengths take more bytes
    channels: int
    height: int
    width: int
    depth: int
    mode: int


def read(file: BinaryIO) -> Facts:
    header = read_header(file)
    if not header.width or not header.height:
        raise UnreadableError("its header tells no size")
    maybe_transparent = header.channels > COLOURS.get(header.mode, header.channels) and has_alpha(file, header)
    return Facts("psd", header.width, header.height, opaque=None if maybe_transparent else True)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        header = read_header(file)
        if header.depth not in (8, 16):
            raise UnreadableError("its channels are not made of whole bytes")
        compression = find_pixels(file, header)
        if compression == RAW:
            return _is_raw_alpha_full(file, header)
        if compression == RUN_LENGTHS:
            return _is_packed_alpha_full(file, header)
        raise UnreadableError("its pixels are compressed in another way")


def read_header(file: BinaryIO) -> Header:
    file.seek(4)
    version, *numbers = struct.unpack(">H6xHIIHH", take(file, 22))
    return Header(version == 2, *numbers)


def _layers(file: BinaryIO, header: Header) -> tuple[int, int]:
    """Where the section of the layers begins, and its size; the colours and the resources come before it."""
    file.seek(26)
    for _ in range(2):
        file.seek(_length(file), os.SEEK_CUR)
    size = _length(file, header.large)
    return file.tell(), size


def find_pixels(file: BinaryIO, header: Header) -> int:
    """Go to the pixels of the merged picture, channel after channel; answer how they are compressed."""
    start, size = _layers(file, header)
    file.seek(start + size)
    return int.from_bytes(take(file, 2))


def row_lengths(file: BinaryIO, header: Header) -> tuple[int, ...]:
    """Of RUN_LENGTHS: how many bytes each row of each channel takes. All of it stands before the first row."""
    count, item = header.channels * header.height, "I" if header.large else "H"
    return struct.unpack(f">{count}{item}", take(file, count * struct.calcsize(f">{item}")))


def resources(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of what is said about the picture as a whole: its profile, resolution, EXIF, XMP."""
    file.seek(26)
    file.seek(_length(file), os.SEEK_CUR)
    end = _length(file) + file.tell()
    while file.tell() + 12 <= end:
        signature, number, name = struct.unpack(">4sHB", take(file, 7))
        if signature not in (b"8BIM", b"MeSa"):
            return
        file.seek(name | 1, os.SEEK_CUR)  # with its length, an even number of bytes
        size = _length(file)
        following = file.tell() + size + size % 2
        if number in (RESOLUTION, ICC, EXIF, XMP) and size <= LARGEST_RESOURCE:
            yield number, take(file, size)
        file.seek(following)


def has_alpha(file: BinaryIO, header: Header) -> bool:
    """A negative number of layers says that the merged picture has alpha."""
    start, size = _layers(file, header)
    if size == 0:
        return False
    if _length(file, header.large) > 0:
        return _count(file) < 0
    file.seek(_length(file), os.SEEK_CUR)  # the global mask
    while file.tell() + 12 <= start + size:
        key = take(file, 8)[4:]
        length = _length(file, header.large and key in LONG_IN_PSB)
        if key in DEEP_LAYERS:
            return length > 0 and _count(file) < 0
        file.seek(-length // 4 * -4, os.SEEK_CUR)  # padded to four bytes
    return False


def _is_raw_alpha_full(file: BinaryIO, header: Header) -> bool:
    size = header.width * header.height * header.depth // 8
    file.seek(size * COLOURS[header.mode], os.SEEK_CUR)
    return all(_is_full(take(file, min(BLOCK, size - done))) for done in range(0, size, BLOCK))


def _is_packed_alpha_full(file: BinaryIO, header: Header) -> bool:
    lengths = row_lengths(file, header)
    first = COLOURS[header.mode] * header.height
    file.seek(sum(lengths[:first]), os.SEEK_CUR)
    return all(_is_packed_row_full(take(file, length)) for length in lengths[first : first + header.height])


def _is_packed_row_full(row: bytes) -> bool:
    position = 0
    while position < len(row):
        control = row[position]
        size = control + 1 if control < 128 else 1 if control > 128 else 0  # literals, one repeated byte, nothing
        if not _is_full(row[position + 1 : position + 1 + size]):
            return False
        position += 1 + size
    return True


def _is_full(data: bytes) -> bool:
    return data.count(0xFF) == len(data)


def _length(file: BinaryIO, large: bool = False) -> int:
    return int.from_bytes(take(file, 8 if large else 4))


def _count(file: BinaryIO) -> int:
    return int.from_bytes(take(file, 2), signed=True)
