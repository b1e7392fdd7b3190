"""PSD and PSB: header, resources and merged image.

The first channel beyond the colors is alpha if the number of layers is negative.

Pillow can't replace this parser. Version 13 refuses PSB and 16 bits per channel (large-document.psb and cmyk16.psd of
the corpus), takes any fourth channel of an RGB file for alpha, and does not report where the pixels are.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, HeaderInfo, read_exactly
from .structure import EMPTY, SHORT, size_of

COLOR_MODES = {1: 1, 2: 1, 3: 3, 4: 4, 8: 1, 9: 3}  # channels by color mode
DEEP_LAYERS = (b"Lr16", b"Lr32")  # hold the layers if channels have 16 or 32 bits
LONG_IN_PSB = {b"LMsk", b"Lr16", b"Lr32", b"Layr", b"Mt16", b"Mt32", b"Mtrn", b"Alph", b"FMsk", b"lnk2", b"FEid",
               b"FXid", b"PxSD"}  # fmt: skip
RAW, RUN_LENGTHS = 0, 1
RESOLUTION, IPTC, ICC, EXIF, XMP = 1005, 1028, 1039, 1058, 1060  # resource IDs
SIGNATURES = {b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"}  # resource signatures of Photoshop and other programs
MAX_RESOURCE_BYTES = 16 * 2**20  # bytes
BLOCK = 2**20
MIN_LAYERS = 1024  # bytes


class Header(NamedTuple):
    large: bool  # PSB: some lengths take more bytes
    channels: int
    height: int
    width: int
    depth: int
    mode: int


def read(file: BinaryIO) -> HeaderInfo:
    header = read_header(file)
    if not header.width or not header.height:
        raise CorruptFileError("its header has no size")
    maybe_transparent = header.channels > COLOR_MODES.get(header.mode, header.channels) and has_alpha(file, header)
    return HeaderInfo("psd", header.width, header.height, opaque=None if maybe_transparent else True)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        header = read_header(file)
        if header.depth not in (8, 16):
            raise CorruptFileError("its channels have neither 8 nor 16 bits")
        compression = find_pixels(file, header)
        if compression == RAW:
            return _is_raw_alpha_opaque(file, header)
        if compression == RUN_LENGTHS:
            return _is_packed_alpha_opaque(file, header)
        raise CorruptFileError("its pixels have an unsupported compression")


def read_header(file: BinaryIO) -> Header:
    file.seek(4)
    version, *numbers = struct.unpack(">H6xHIIHH", read_exactly(file, 22))
    return Header(version == 2, *numbers)


def _layers(file: BinaryIO, header: Header) -> tuple[int, int]:
    """Start and size of the layer section. Color data and resources precede it."""
    file.seek(26)
    for _ in range(2):
        file.seek(_length(file), os.SEEK_CUR)
    size = _length(file, header.large)
    return file.tell(), size


def find_pixels(file: BinaryIO, header: Header) -> int:
    """Seek to the pixels of the merged image (planar); return their compression method."""
    start, size = _layers(file, header)
    file.seek(start + size)
    return int.from_bytes(read_exactly(file, 2))


def row_lengths(file: BinaryIO, header: Header) -> tuple[int, ...]:
    """With RUN_LENGTHS: compressed bytes per row of each channel. The table precedes the first row."""
    count, item = header.channels * header.height, "I" if header.large else "H"
    return struct.unpack(f">{count}{item}", read_exactly(file, count * struct.calcsize(f">{item}")))


def trailer(file: BinaryIO) -> bytes:
    """The start of the data after the pixels, where nothing belongs; empty if the end of the pixels is unknown."""
    header = read_header(file)
    compression = find_pixels(file, header)
    if compression == RAW:
        size = header.channels * header.height * header.width * header.depth // 8
    elif compression == RUN_LENGTHS:
        size = sum(row_lengths(file, header))
    else:
        return b""
    file.seek(size, os.SEEK_CUR)
    return file.read(BLOCK)


class Resource(NamedTuple):
    """Information about the image as a whole: color profile, resolution, EXIF, a path."""

    number: int
    head: bytes  # signature, ID and name as stored
    file: BinaryIO
    start: int
    size: int

    def content(self) -> bytes:
        if self.size > MAX_RESOURCE_BYTES:
            raise CorruptFileError("one of its resources is too large")
        self.file.seek(self.start)
        return read_exactly(self.file, self.size)

    def block(self) -> bytes:
        """The complete resource block."""
        content = self.content()
        return self.head + struct.pack(">I", self.size) + content + b"\0" * (self.size % 2)


def resources(file: BinaryIO) -> Iterator[Resource]:
    """The resources of a PSD."""
    file.seek(26)
    file.seek(_length(file), os.SEEK_CUR)
    size = _length(file)
    return resource_blocks(file, file.tell(), file.tell() + size)


def resource_blocks(file: BinaryIO, start: int, end: int) -> Iterator[Resource]:
    """The consecutive resources in this part of a file: PSD, TIFF, JPEG or PNG."""
    position = start
    while position + 12 <= end:
        file.seek(position)
        head = read_exactly(file, 7)
        signature, number, name = struct.unpack(">4sHB", head)
        if signature not in SIGNATURES:
            raise CorruptFileError("its resources are invalid")
        head += read_exactly(file, name | 1)  # padded to an even length, including the length byte
        size = _length(file)
        yield Resource(number, head, file, file.tell(), size)
        position += len(head) + 4 + size + size % 2


def resource_of(number: int, content: bytes) -> bytes:
    """An unnamed resource block."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + b"\0" * (len(content) % 2)


def has_alpha(file: BinaryIO, header: Header) -> bool:
    """Return whether the merged image has alpha: the number of layers is negative then."""
    start, size = _layers(file, header)
    if size == 0:
        return False
    if _length(file, header.large) > 0:
        return _count(file) < 0
    file.seek(_length(file), os.SEEK_CUR)  # the global mask
    while file.tell() + 12 <= start + size:
        key = read_exactly(file, 8)[4:]
        length = _length(file, header.large and key in LONG_IN_PSB)
        if key in DEEP_LAYERS:
            return length > 0 and _count(file) < 0
        file.seek(-length // 4 * -4, os.SEEK_CUR)  # padded to four bytes
    return False


def _is_raw_alpha_opaque(file: BinaryIO, header: Header) -> bool:
    size = header.width * header.height * header.depth // 8
    file.seek(size * COLOR_MODES[header.mode], os.SEEK_CUR)
    return all(_all_0xff(read_exactly(file, min(BLOCK, size - done))) for done in range(0, size, BLOCK))


def _is_packed_alpha_opaque(file: BinaryIO, header: Header) -> bool:
    lengths = row_lengths(file, header)
    first = COLOR_MODES[header.mode] * header.height
    file.seek(sum(lengths[:first]), os.SEEK_CUR)
    return all(_is_packed_row_opaque(read_exactly(file, length)) for length in lengths[first : first + header.height])


def _is_packed_row_opaque(row: bytes) -> bool:
    position = 0
    while position < len(row):
        control = row[position]
        size = control + 1 if control < 128 else 1 if control > 128 else 0  # literals, a repeated byte, or nothing
        if not _all_0xff(row[position + 1 : position + 1 + size]):
            return False
        position += 1 + size
    return True


def _all_0xff(data: bytes) -> bool:
    return data.count(0xFF) == len(data)


def _length(file: BinaryIO, large: bool = False) -> int:
    return int.from_bytes(read_exactly(file, 8 if large else 4))


def _count(file: BinaryIO) -> int:
    return int.from_bytes(read_exactly(file, 2), signed=True)


def problem(file: BinaryIO) -> str | None:
    available, expected = pixel_sizes(file, read_header(file))
    if available:
        return None if available >= expected else SHORT
    return EMPTY


def pixel_sizes(file: BinaryIO, header: Header) -> tuple[int, int]:
    """Available and expected size of the merged image in bytes, as far as known."""
    end = size_of(file)
    try:
        compression = find_pixels(file, header)
        if compression == RAW:
            expected = header.channels * header.height * -(-header.width * header.depth // 8)
        elif compression == RUN_LENGTHS:
            expected = sum(row_lengths(file, header))
        else:
            expected = 1
    except CorruptFileError:
        return 0, 1
    return min(max(0, end - file.tell()), expected), expected


def has_layers(file: BinaryIO) -> bool:
    """Return whether there are layers, and enough of them in the file to show something."""
    header, end = read_header(file), size_of(file)
    start, size = _layers(file, header)
    return size > 4 and min(size, MIN_LAYERS) <= end - start
