"""The boxes of MP4, HEIF, AVIF and JPEG XL files: size, type, content."""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, read_exactly

NEEDED = {  # types that images and videos need
    *(b"ftyp", b"meta", b"mini", b"moov", b"moof", b"mdat", b"idat", b"uuid"),
    *(b"jxlc", b"jxlp", b"jbrd", b"brob", b"Exif", b"xml "),
}
MAX_BOX_BYTES = 64 * 2**20  # limit of boxes read into memory; boxes with pixels are skipped


class Box(NamedTuple):
    type: bytes
    file: BinaryIO
    start: int
    size: int

    def content(self, size: int | None = None) -> bytes:
        """The content, or its first `size` bytes."""
        size = self.size if size is None else min(size, self.size)
        if size > MAX_BOX_BYTES:
            raise CorruptFileError("one of its boxes is too large")
        self.file.seek(self.start)
        return read_exactly(self.file, size)

    def children(self, skip: int = 0) -> "Iterator[Box]":
        return walk(io.BytesIO(self.content()[skip:]))


def walk(file: BinaryIO) -> Iterator[Box]:
    """The boxes of a file, or within the content of a box."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(read_exactly(file, 4)), read_exactly(file, 4)
        header = 8
        if size == 1:
            size, header = int.from_bytes(read_exactly(file, 8)), 16
        elif size == 0:  # until the end of the file
            size = end - position
        if size < header:
            raise CorruptFileError("one of its boxes has an invalid size")
        yield Box(type, file, position + header, min(size, end - position) - header)
        position += size


def readable(file: BinaryIO) -> Iterator[Box]:
    """The boxes up to the first invalid one: some programs append other data."""
    with suppress(CorruptFileError):
        yield from walk(file)


def first_cut_off(file: BinaryIO) -> bytes | None:
    """The type of the box that extends beyond the end of the file; None if all are complete.

    Data that programs append may look like a box, so only types that images and videos need count.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(read_exactly(file, 4)), read_exactly(file, 4)
        if size == 1 and position + 16 <= end:
            size = int.from_bytes(read_exactly(file, 8))
        if size < 8:  # until the end of the file, or not a box
            return None
        if position + size > end:
            return type if type in NEEDED else None
        position += size
    return None
