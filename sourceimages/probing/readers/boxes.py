"""The boxes that MP4, HEIF, AVIF and JPEG XL files are made of: size, type, content."""

import io
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .facts import UnreadableError, take

TYPE = re.compile(rb"[\x20-\x7e\xa9]{4}")
LARGEST_CONTENT = 64 * 2**20  # of a box that is read whole; those with the pixels are skipped


class Box(NamedTuple):
    type: bytes
    file: BinaryIO
    start: int
    size: int

    def content(self, size: int | None = None) -> bytes:
        """All of its content, or the beginning of it."""
        size = self.size if size is None else min(size, self.size)
        if size > LARGEST_CONTENT:
            raise UnreadableError("one of its boxes is too large")
        self.file.seek(self.start)
        return take(self.file, size)

    def children(self, skip: int = 0) -> "Iterator[Box]":
        return walk(io.BytesIO(self.content()[skip:]))


def walk(file: BinaryIO) -> Iterator[Box]:
    """The boxes of a file or of a box's content, one after the other."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(take(file, 4)), take(file, 4)
        header = 8
        if size == 1:
            size, header = int.from_bytes(take(file, 8)), 16
        elif size == 0:  # to the end
            size = end - position
        if size < header:
            raise UnreadableError("the size of one of its boxes is wrong")
        yield Box(type, file, position + header, min(size, end - position) - header)
        position += size


def first_cut_off(file: BinaryIO) -> bytes | None:
    """The type of the box that is longer than what is left of the file; None if all are whole."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        size, type = int.from_bytes(take(file, 4)), take(file, 4)
        if size == 1 and position + 16 <= end:
            size = int.from_bytes(take(file, 8))
        if size < 8 or not TYPE.fullmatch(type):  # to the end, or no box any more: what a program has put behind it
            return None
        if position + size > end:
            return type
        position += size
    return None
