"""JPEG in all variants: progressive, arithmetic, CMYK, several images (MPO), gain maps."""

import mmap
import os
import re
import struct
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, HeaderInfo, read_exactly
from .structure import EMPTY, SHORT, size_of

FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
WITHOUT_CONTENT = {0x01, *range(0xD0, 0xD9)}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
END = bytes([0xFF, END_OF_IMAGE])
BLOCK = 8  # pixels per side
FIND_END = re.compile(re.escape(END))  # searching a mapped file takes half as long as its method `find`
MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd7\xff]")  # within a scan: any marker except restart markers


def read(file: BinaryIO) -> HeaderInfo:
    file.seek(2)
    while True:
        marker = _next_marker(file)
        if marker in WITHOUT_CONTENT:
            continue
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            raise CorruptFileError("its pixels start before its size is defined")
        size = int.from_bytes(read_exactly(file, 2))
        if marker in FRAME_HEADERS:
            height, width = struct.unpack(">xHH", read_exactly(file, 5))
            if not width or not height:
                raise CorruptFileError("its header has no size")
            return HeaderInfo("jpg", width, height, opaque=True)
        file.seek(size - 2, os.SEEK_CUR)


def _next_marker(file: BinaryIO) -> int:
    """The next marker. Decoders skip anything else before it, and 0xFF can be repeated as padding."""
    byte = read_exactly(file, 1)
    while byte != b"\xff":
        byte = read_exactly(file, 1)
    while byte == b"\xff":
        byte = read_exactly(file, 1)
    return byte[0]


class Scans(NamedTuple):
    """The available part of the image."""

    progressive: bool
    height: int
    row_blocks: int  # per row of blocks, of one component
    sizes: list[int]  # bytes per scan
    complete: bool  # the image has an end marker


def problem(file: BinaryIO) -> str | None:
    """The structural problem, if any. Each block of the first component takes at least one bit in the first scan."""
    found = scans(file, together=True)
    if not sum(found.sizes):
        return EMPTY
    if not found.complete or sum(found.sizes) * 8 < found.row_blocks * -(-found.height // BLOCK):
        return SHORT
    return None


def scans(file: BinaryIO, *, together: bool = False) -> Scans:
    """The scans of the first image. `together` counts all scans as one, which skips the search for markers."""
    header, progressive, sizes = HeaderInfo("jpg"), False, list[int]()
    end = size_of(file)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        file.seek(2)
        while True:
            try:
                marker = _next_marker(file)
                if marker in WITHOUT_CONTENT:
                    continue
                if complete := marker == END_OF_IMAGE:
                    break
                size = int.from_bytes(read_exactly(file, 2))
            except CorruptFileError:
                complete = False
                break
            if marker in FRAME_HEADERS:
                height, width = struct.unpack(">xHH", read_exactly(file, 5))
                header, progressive = HeaderInfo("jpg", width, height), marker in PROGRESSIVE
                size -= 5
            file.seek(size - 2, os.SEEK_CUR)
            if marker == START_OF_SCAN:
                start = min(file.tell(), end)
                if together:  # within scans, this marker can only be the end; in most files no data follows it
                    found = end - len(END) if data[-len(END) :] == END else _find_end(data, start)
                    sizes.append((end if found is None else found) - start)
                    complete = found is not None
                    break
                following = MARKER.search(data, start)
                sizes.append((following.start() if following else end) - start)
                file.seek(following.start() if following else end)
    return Scans(progressive, header.height, -(-header.width // BLOCK), sizes, complete)


def _find_end(data: mmap.mmap, start: int) -> int | None:
    found = FIND_END.search(data, start)
    return found.start() if found else None
