"""TIFF and BigTIFF, in both byte orders. The first page counts; an orientation tag is not applied."""

import struct
from typing import Any, BinaryIO

import pyvips

from . import alpha
from .facts import Facts, UnreadableError, take

WIDTH, HEIGHT, SAMPLES, EXTRA_SAMPLES = 256, 257, 277, 338
ALPHA = (1, 2)  # kinds of extra samples: premultiplied or not
NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of values
BIG = 43


def read(file: BinaryIO) -> Facts:
    tags = _first_page(file)
    width, height = tags.get(WIDTH, (0,))[0], tags.get(HEIGHT, (0,))[0]
    if not width or not height:
        raise UnreadableError("its first page has no size")
    return Facts("tif", width, height, opaque=True if _alpha_band(tags) is None else None)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        band = _alpha_band(_first_page(file))
    return alpha.is_full(pyvips.Image.tiffload(path, access="sequential", fail_on="truncated"), band=band)


def extra_samples(file: BinaryIO) -> tuple[int, ...]:
    """The kinds of the channels beyond the colours."""
    return _first_page(file).get(EXTRA_SAMPLES, ())


def _alpha_band(tags: dict[int, tuple[int, ...]]) -> int | None:
    extra = tags.get(EXTRA_SAMPLES, ())
    colours = tags.get(SAMPLES, (1,))[0] - len(extra)
    return next((colours + number for number, kind in enumerate(extra) if kind in ALPHA), None)


def _first_page(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The tags of the first page that hold whole numbers."""
    file.seek(0)
    order = "<" if take(file, 2) == b"II" else ">"
    big = struct.unpack(order + "H", take(file, 2))[0] == BIG
    if big:
        file.seek(8)
    address, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    file.seek(_unpack(file, order + address)[0])
    entries = [_unpack(file, order + entry) for _ in range(_unpack(file, order + count)[0])]
    tags = {}
    for tag, type, length, content in entries:
        if type in NUMBERS and tag in (WIDTH, HEIGHT, SAMPLES, EXTRA_SAMPLES):
            values = f"{order}{min(length, 2**16)}{NUMBERS[type]}"
            if struct.calcsize(values) <= len(content):
                tags[tag] = struct.unpack_from(values, content)
            else:  # then the content says where the values are
                file.seek(struct.unpack(order + address, content)[0])
                tags[tag] = _unpack(file, values)
    return tags


def _unpack(file: BinaryIO, format: str) -> tuple[Any, ...]:
    return struct.unpack(format, take(file, struct.calcsize(format)))
