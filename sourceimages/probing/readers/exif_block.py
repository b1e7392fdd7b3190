"""Build a standalone EXIF block from the directories of a TIFF. Values are copied byte for byte."""

import struct
from typing import NamedTuple

from . import tiff_tags
from .header import CannotConvertError
from .ifds import EXIF, GPS, INTEROPERABILITY, Directory, Tiff

TYPES = range(1, 13)  # types that EXIF has, without those of BigTIFF and pointers
MAX_BLOCK = 2**24  # bytes
INLINE = 4  # longer values are stored outside their entry (bytes)
LONG = 4
POINTERS = {EXIF, GPS, INTEROPERABILITY}
PASSED_OVER = tiff_tags.DROPPED | {tiff_tags.MAKER_NOTE}


class Value(NamedTuple):
    type: int
    length: int
    content: bytes


class Table(NamedTuple):
    """A directory to write: its values, and the subdirectories that its tags point to."""

    values: dict[int, Value]
    below: dict[int, "Table"]


def from_tiff(tiff: Tiff, *, strict: bool) -> bytes:
    """The EXIF of the first page; may be empty.

    `strict` raises CannotConvertError for values that the block can't hold; otherwise they are skipped.
    """
    page = tiff.directory(tiff.first)
    if strict:
        _check(tiff, page)
    table = _table(tiff, page, tiff_tags.CARRIED & page.entries.keys(), strict=strict)
    if not table.values and not table.below:
        return b""
    mark = b"II*\0" if tiff.order == "<" else b"MM\0*"
    block = mark + struct.pack(f"{tiff.order}I", 8) + _packed(table, tiff.order, 8)
    if len(block) > MAX_BLOCK:
        raise CannotConvertError("its EXIF is too long")
    return block


def _check(tiff: Tiff, page: Directory) -> None:
    """Check that all tags of the page and of its subdirectories are known. Raises CannotConvertError."""
    unknown = page.entries.keys() - tiff_tags.CARRIED - tiff_tags.DROPPED - tiff_tags.BLOCKS - {EXIF, GPS}
    for exif in tiff.children(page, EXIF)[:1]:
        unknown |= exif.entries.keys() - tiff_tags.CARRIED_OF_EXIF - tiff_tags.DROPPED
    for gps in tiff.children(page, GPS)[:1]:
        unknown |= gps.entries.keys() - tiff_tags.CARRIED_OF_GPS
    if unknown:
        names = ", ".join(tiff_tags.name_of(tag) for tag in sorted(unknown)[:5])
        raise CannotConvertError(f"it has data that another format can't hold: {names}")


def _table(tiff: Tiff, directory: Directory, tags: set[int], *, strict: bool) -> Table:
    """The values of these tags, and the content of the subdirectories."""
    values, below = {}, {}
    for tag in sorted(POINTERS & directory.entries.keys()):
        for child in tiff.children(directory, tag)[:1]:
            below[tag] = _table(tiff, child, child.entries.keys() - PASSED_OVER, strict=strict)
    for tag in sorted(tags | directory.entries.keys() & POINTERS):
        entry = directory.entries[tag]
        if tag not in POINTERS and entry.type in TYPES:
            values[tag] = Value(entry.type, entry.length, tiff.value(entry))
        elif strict and tag not in below:
            raise CannotConvertError(f"its {tiff_tags.name_of(tag)} has a type that EXIF does not have")
    return Table(values, below)


def _packed(table: Table, order: str, address: int) -> bytes:
    """The directory as bytes for the given address: its entries, then the values they point to."""
    entries, heap = b"", b""
    start = address + 2 + 12 * len(table.values | table.below) + 4
    for tag in sorted(table.values | table.below):
        heap += b"\0" * (len(heap) % 2)
        if tag in table.below:
            entries += struct.pack(f"{order}HHII", tag, LONG, 1, start + len(heap))
            heap += _packed(table.below[tag], order, start + len(heap))
            continue
        value = table.values[tag]
        head = struct.pack(f"{order}HHI", tag, value.type, value.length)
        if len(value.content) <= INLINE:
            entries += head + value.content.ljust(INLINE, b"\0")
        else:
            entries += head + struct.pack(f"{order}I", start + len(heap))
            heap += value.content
    return struct.pack(f"{order}H", len(table.values | table.below)) + entries + bytes(4) + heap
