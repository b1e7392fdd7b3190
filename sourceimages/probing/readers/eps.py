"""EPS. Its size is what the bounding box says, in points; no PostScript is run."""

import math
import os
import re
import struct
from typing import BinaryIO

from .header import MAX_DIMENSION, CorruptFileError, HeaderInfo, read_exactly

DOS_HEADER = b"\xc5\xd0\xd3\xc6"  # PostScript with a preview beside it
PART = 64 * 1024  # of the head and of the tail; the drawing between them can be long
BOUNDING_BOX = re.compile(rb"(?:^|[\r\n])%%BoundingBox:([^\r\n]*)")
NUMBER = rb"([+-]?(?:\d+\.?\d*|\.\d+))"
MAX_POINTS = re.compile(rb"\s*" + rb"\s+".join([NUMBER] * 4))


def read(file: BinaryIO) -> HeaderInfo:
    start, end = _postscript(file)
    file.seek(start)
    boxes = BOUNDING_BOX.findall(file.read(min(PART, end - start)))
    box = boxes[0] if boxes else b""
    if box.strip() == b"(atend)":
        file.seek(max(start, end - PART))
        box = BOUNDING_BOX.findall(file.read(min(PART, end - start)))[-1]
    sides = MAX_POINTS.match(box)
    if sides is None:
        raise CorruptFileError("it has no bounding box")
    left, bottom, right, top = (float(side) for side in sides.groups())
    width, height = math.ceil(right) - math.floor(left), math.ceil(top) - math.floor(bottom)
    if not (0 < width <= MAX_DIMENSION and 0 < height <= MAX_DIMENSION):
        raise CorruptFileError("its bounding box is no size of a picture")
    return HeaderInfo("eps", width, height)


def _postscript(file: BinaryIO) -> tuple[int, int]:
    """Where the PostScript begins and ends."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if read_exactly(file, 4) != DOS_HEADER:
        return 0, end
    start, size = struct.unpack("<II", read_exactly(file, 8))
    return start, min(start + size, end)
