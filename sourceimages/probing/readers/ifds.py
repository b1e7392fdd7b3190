"""The directories (IFDs) of TIFF-based files: TIFF, BigTIFF, camera raws, EXIF blocks.

All steps are bounded: loops and directories with millions of entries are refused.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .header import CorruptFileError, read_exactly

SUB_IFDS, EXIF, GPS, INTEROPERABILITY = 330, 34665, 34853, 40965  # tags that point to subdirectories
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGER_TYPES = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}  # integer types
BIG_TIFF = 43
MAX_DIRECTORIES = 64  # per file
MAX_PAGES = 100_000
MAX_ENTRIES = 4096  # per directory; real ones have fewer than 200
MAX_NUMBERS = 2**16
MAX_VALUE = 64 * 2**20  # bytes


class Entry(NamedTuple):
    """A field of a directory. `field` holds the value, or its address if the value is longer."""

    type: int
    length: int
    field: bytes

    @property
    def size(self) -> int:
        return SIZES.get(self.type, 1) * self.length


class Directory(NamedTuple):
    entries: dict[int, Entry]
    following: int  # address of the next directory in the chain, or 0


class Tiff:
    """A TIFF-based file. Addresses are relative to `start`."""

    def __init__(self, file: BinaryIO, *, start: int = 0) -> None:
        self.file, self.start = file, start
        file.seek(start)
        self.order = "<" if read_exactly(file, 2) == b"II" else ">"
        self.big = self._unpack("H")[0] == BIG_TIFF
        self._address = "Q" if self.big else "I"
        if self.big:
            file.seek(start + 8)
        self.first: int = self._unpack(self._address)[0]

    def directory(self, address: int) -> Directory:
        self.file.seek(self.start + address)
        count: int = self._unpack("Q" if self.big else "H")[0]
        if count > MAX_ENTRIES:
            raise CorruptFileError(f"one of its directories has {count} entries")
        layout = struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))
        found = layout.iter_unpack(read_exactly(self.file, count * layout.size))
        entries = {tag: Entry(type, length, field) for tag, type, length, field in found}
        following = self.file.read(8 if self.big else 4)  # some writers omit it at the end of the file
        return Directory(entries, int.from_bytes(following, "little" if self.order == "<" else "big"))

    def chain(self) -> Iterator[Directory]:
        """The first directory and its successors: pages, or in raws any other image."""
        address, seen = self.first, set[int]()
        while address and address not in seen and len(seen) < MAX_DIRECTORIES:
            seen.add(address)
            directory = self.directory(address)
            yield directory
            address = directory.following

    def pages(self) -> int:
        """Number of directories in the chain, without the limit of `chain`."""
        address, seen = self.first, set[int]()
        size = 20 if self.big else 12
        while address and address not in seen and len(seen) < MAX_PAGES:
            self.file.seek(self.start + address)
            try:
                count = self._unpack("Q" if self.big else "H")[0]
                self.file.seek(count * size, os.SEEK_CUR)
                following = self._unpack(self._address)[0]
            except (CorruptFileError, OverflowError, OSError):  # the last one may be truncated
                following = 0
            seen.add(address)
            address = following
        return len(seen)

    def children(self, directory: Directory, tag: int = SUB_IFDS) -> list[Directory]:
        """The subdirectories that a tag points to."""
        addresses = self.numbers(directory, tag)
        if len(addresses) > MAX_DIRECTORIES:
            raise CorruptFileError(f"one of its directories has {len(addresses)} subdirectories")
        return [self.directory(address) for address in addresses]

    def numbers(self, directory: Directory, tag: int) -> tuple[int, ...]:
        """The integers of a tag; empty if it is missing or has another type."""
        entry = directory.entries.get(tag)
        if entry is None or entry.type not in INTEGER_TYPES or entry.length > MAX_NUMBERS:
            return ()
        return struct.unpack(f"{self.order}{entry.length}{INTEGER_TYPES[entry.type]}", self.value(entry))

    def number(self, directory: Directory, tag: int, default: int = 0) -> int:
        return next(iter(self.numbers(directory, tag)), default)

    def text(self, directory: Directory, tag: int) -> str:
        entry = directory.entries.get(tag)
        return self.value(entry).partition(b"\0")[0].decode("latin-1").strip() if entry is not None else ""

    def value(self, entry: Entry) -> bytes:
        """The raw value in the byte order of the file."""
        if entry.size <= len(entry.field):
            return entry.field[: entry.size]
        if entry.size > MAX_VALUE:
            raise CorruptFileError("one of its values is too long")
        self.file.seek(self.start + struct.unpack(self.order + self._address, entry.field)[0])
        return read_exactly(self.file, entry.size)

    def _unpack(self, format: str) -> tuple[int, ...]:
        return struct.unpack(self.order + format, read_exactly(self.file, struct.calcsize(self.order + format)))
