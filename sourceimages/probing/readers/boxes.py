"""The boxes that MP4, HEIF, AVIF and JPEG XL files are made of: size, type, content."""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, read_exactly

NEEDED = {  # types that an image or a video is made of
    *(b"ftyp", b"meta", b"mini", b"moov", b"moof", b"mdat", b"idat", b"uuid"),
    *(b"jxlc", b"jxlp", b"jbrd", b"brob", b"Exif", b"xml "),
}
MAX_BOX_BYTES = 64 * 2**20  # of a box that is read whole; those with the pixels are skipped


class Box(NamedTuple):
    type: bytes
    file: BinaryIO
    start: int
    size: int

    def content(self, size: int | None = None) -> bytes:
        """All of its content, or the beginning of it."""
        size = self.size if size is None else min(size, self.size)
        if size > MAX_BOX_BYTES:
            raise CorruptFileError("one of its boxes is too large")
        self.file.seek(self.start)
        return read_exactly(self.file, size)

    def children(self, skip: int = 0) -> "Iterator[Box]":
        return walk(io.BytesIO(self.content()[skip:]))


def walk(file: BinaryIO) -> Iterator[Box]:
    """The boxes of a file or of a box's content, one after the other."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(read_exactly(file, 4)), read_exactly(file, 4)
        header = 8
        if size == 1:
            size, header = int.from_bytes(read_exactly(file, 8)), 16
        elif size == 0:  # to the end
            size = end - position
        if size < header:
            raise CorruptFileError("the size of one of its boxes is wrong")
        yield Box(type, file, position + header, min(size, end - position) - header)
        position += size


def readable(file: BinaryIO) -> Iterator[Box]:
    """The boxes up to the first that makes no sense: programs put things behind the last one."""
    with suppress(CorruptFileError):
        yield from walk(file)


def first_cut_off(file: BinaryIO) -> bytes | None:
    """The type of the box that is longer than what is left of the file; None if all are whole.

    What programs put behind the last box may look like another one: only types count that an image or a video has.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(read_exactly(file, 4)), read_exactly(file, 4)
        if size == 1 and position + 16 <= end:
            size = int.from_bytes(read_exactly(file, 8))
        if size < 8:  # to the end, or no box any more
            return None
        if position + size > end:
            return type if type in NEEDED else None
        position += size
    return None
