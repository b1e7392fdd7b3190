"""TIFF and BigTIFF, in both byte orders. The first page is used; its orientation tag is not applied.

TIFF-based camera raws are detected here by their content.
"""

from typing import BinaryIO, NamedTuple

import pyvips

from . import alpha, camera_raw
from .header import CorruptFileError, HeaderInfo
from .ifds import Directory, Tiff
from .structure import EMPTY, SHORT, size_of

WIDTH, HEIGHT, BITS, SAMPLES, EXTRA_SAMPLES = 256, 257, 258, 277, 338
STRIPS, TILES = (273, 279), (324, 325)  # tags: offsets and byte counts
COMPRESSION, NONE = 259, 1  # tag, and its value for uncompressed data
JPEG_DATA = 513  # offset of the data in old-style JPEG compression
ALPHA = (1, 2)  # kinds of extra samples: premultiplied or not


def read(file: BinaryIO) -> HeaderInfo:
    tiff = Tiff(file)
    if raw := camera_raw.read(tiff):
        return raw
    page = tiff.directory(tiff.first)
    width, height = tiff.number(page, WIDTH), tiff.number(page, HEIGHT)
    if not width or not height:
        raise CorruptFileError("its first page has no size")
    return HeaderInfo("tif", width, height, opaque=True if _alpha_band(tiff, page) is None else None)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        tiff = Tiff(file)
        band = _alpha_band(tiff, tiff.directory(tiff.first))
    return alpha.is_opaque(pyvips.Image.tiffload(path, access="sequential", fail_on="truncated"), band=band)


def _alpha_band(tiff: Tiff, page: Directory) -> int | None:
    extra = tiff.numbers(page, EXTRA_SAMPLES)
    colours = tiff.number(page, SAMPLES, 1) - len(extra)
    return next((colours + number for number, kind in enumerate(extra) if kind in ALPHA), None)


def problem(file: BinaryIO) -> str | None:
    tiff = Tiff(file)
    pages, complete = readable_pages(tiff)
    for number, page in enumerate(pages):
        available = sections(tiff, page)
        if available is None or (not available and (number or JPEG_DATA in page.entries)):
            continue
        if not available or not all(part.whole for part in available):
            return SHORT if any(part.available for part in available) or number else EMPTY
    return None if complete else SHORT


def readable_pages(tiff: Tiff) -> tuple[list[Directory], bool]:
    """The leading readable pages, and whether these are all pages."""
    pages: list[Directory] = []
    try:
        pages.extend(tiff.chain())
    except CorruptFileError:
        return pages, False
    return pages, True


def raw_size(tiff: Tiff, page: Directory) -> int:
    """Uncompressed size of a page in bytes, if its strips have no padding."""
    bits = sum(tiff.numbers(page, BITS)) or tiff.number(page, SAMPLES, 1)
    return -(-tiff.number(page, WIDTH) * bits // 8) * tiff.number(page, HEIGHT)


class Section(NamedTuple):
    """A strip or tile: available and total bytes."""

    available: int
    size: int

    @property
    def whole(self) -> bool:
        return self.available == self.size


def sections(tiff: Tiff, page: Directory) -> list[Section] | None:
    """The strips or tiles of a page; None if there are too many."""
    end = size_of(tiff.file)
    for places, lengths in (STRIPS, TILES):
        if places in page.entries:
            offsets, sizes = tiff.numbers(page, places), tiff.numbers(page, lengths)
            if not offsets:
                return None
            sizes = sizes if len(sizes) == len(offsets) else (1,) * len(offsets)
            places_and_sizes = zip(offsets, sizes, strict=True)
            return [Section(max(0, min(size, end - tiff.start - at)), size) for at, size in places_and_sizes]
    return []
