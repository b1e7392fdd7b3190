"""Write metadata blocks into PNG, JPEG and WebP files that libvips writes."""

import os
import struct
import zlib
from collections.abc import Callable

import pyvips

from .carried import Carried
from .header import CannotConvertError

PNG_START = 33  # bytes before the first chunk that can be preceded by others: signature and header
MAX_SEGMENT = 65_533  # maximum content of a JPEG segment
HEX_LINE = 72  # digits
WEBP_HEAD, WEBP_FLAGS = 12, 20  # bytes before the first chunk; position of the flags in an extended WebP
WEBP_EXIF, WEBP_XMP = 0x08, 0x04  # flags


def into_png(descriptor: int, carried: Carried) -> pyvips.TargetCustom:
    """A target for a PNG that inserts the blocks after its header, where all readers find them."""
    chunks = b""
    if carried.exif:
        chunks += _chunk(b"eXIf", carried.exif)
    if carried.xmp:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _utf8(carried.xmp))
    if carried.resources:
        chunks += _chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(_raw_profile(carried.resources)))
    return _inserting(descriptor, chunks, lambda start: PNG_START)


def into_jpeg(descriptor: int, carried: Carried) -> pyvips.TargetCustom:
    """A target for a JPEG that inserts the blocks at the start, after a JFIF segment."""
    segments = b""
    if carried.exif:
        segments += _segment(0xE1, "EXIF", b"Exif\0\0" + carried.exif)
    if carried.xmp:
        segments += _segment(0xE1, "XMP", b"http://ns.adobe.com/xap/1.0/\0" + _utf8(carried.xmp))
    if carried.resources:
        segments += _segment(0xED, "IPTC and other Photoshop information", b"Photoshop 3.0\0" + carried.resources)
    return _inserting(descriptor, segments, _after_jfif)


def into_webp(path: str, descriptor: int, carried: Carried) -> None:
    """Add the blocks to an extended WebP that is already written. All WebPs with transparency are extended."""
    if carried.resources:
        raise CannotConvertError("WebP can't hold its IPTC and other Photoshop information")
    chunks = _riff(b"EXIF", carried.exif) + _riff(b"XMP ", _utf8(carried.xmp))
    if not chunks:
        return
    with open(path, "rb") as file:
        head = file.read(WEBP_FLAGS + 1)
    if head[WEBP_HEAD : WEBP_HEAD + 4] != b"VP8X":
        raise CannotConvertError("the written file can't hold EXIF and XMP")
    flags = head[WEBP_FLAGS] | (WEBP_EXIF if carried.exif else 0) | (WEBP_XMP if carried.xmp else 0)
    size = os.lseek(descriptor, 0, os.SEEK_END)
    _write(descriptor, chunks)
    os.pwrite(descriptor, struct.pack("<I", size + len(chunks) - 8), 4)
    os.pwrite(descriptor, bytes([flags]), WEBP_FLAGS)


def _inserting(descriptor: int, blocks: bytes, find_position: Callable[[bytes], int | None]) -> pyvips.TargetCustom:
    """A target that inserts the blocks at `place(start of the file)`; None means that more data is needed."""
    start: bytes | None = b""

    def write(content: bytes) -> int:
        nonlocal start
        piece = bytes(content)
        if start is None:
            _write(descriptor, piece)
            return len(content)
        start += piece
        position = find_position(start)
        if position is not None and position <= len(start):
            _write(descriptor, start[:position] + blocks + start[position:])
            start = None
        return len(content)

    target = pyvips.TargetCustom()
    target.on_write(write)
    return target


def _after_jfif(start: bytes) -> int | None:
    if len(start) < 6:
        return None
    return 4 + int.from_bytes(start[4:6]) if start[2:4] == b"\xff\xe0" else 2


def _write(descriptor: int, content: bytes) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def _chunk(type: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + type + content + struct.pack(">I", zlib.crc32(type + content))


def _segment(marker: int, name: str, content: bytes) -> bytes:
    if len(content) > MAX_SEGMENT:
        raise CannotConvertError(f"its {name} is too long for JPEG")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _riff(type: bytes, content: bytes) -> bytes:
    return type + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) if content else b""


def _raw_profile(content: bytes) -> bytes:
    """The format that ImageMagick writes and exiftool reads: a name, the size in bytes, and hex digits."""
    digits = content.hex()
    lines = "\n".join(digits[position : position + HEX_LINE] for position in range(0, len(digits), HEX_LINE))
    return f"\niptc\n{len(content):8}\n{lines}\n".encode()


def _utf8(xmp: bytes) -> bytes:
    try:
        xmp.decode()
    except UnicodeDecodeError as error:
        raise CannotConvertError("its XMP is not in UTF-8") from error
    return xmp
