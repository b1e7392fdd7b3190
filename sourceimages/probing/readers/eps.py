"""EPS. The size is the bounding box in points; no PostScript is executed."""

import math
import os
import re
import struct
from typing import BinaryIO

from .header import MAX_DIMENSION, CorruptFileError, HeaderInfo, read_exactly

DOS_HEADER = b"\xc5\xd0\xd3\xc6"  # PostScript with an embedded preview
SEARCHED_BYTES = 64 * 1024  # bytes read of the head and of the tail; the drawing between them can be long
BOUNDING_BOX = re.compile(rb"(?:^|[\r\n])%%BoundingBox:([^\r\n]*)")
NUMBER = rb"([+-]?(?:\d+\.?\d*|\.\d+))"
BOX_VALUES = re.compile(rb"\s*" + rb"\s+".join([NUMBER] * 4))


def read(file: BinaryIO) -> HeaderInfo:
    start, end = _postscript(file)
    file.seek(start)
    boxes = BOUNDING_BOX.findall(file.read(min(SEARCHED_BYTES, end - start)))
    box = boxes[0] if boxes else b""
    if box.strip() == b"(atend)":
        file.seek(max(start, end - SEARCHED_BYTES))
        box = BOUNDING_BOX.findall(file.read(min(SEARCHED_BYTES, end - start)))[-1]
    values = BOX_VALUES.match(box)
    if values is None:
        raise CorruptFileError("it has no bounding box")
    left, bottom, right, top = (float(side) for side in values.groups())
    width, height = math.ceil(right) - math.floor(left), math.ceil(top) - math.floor(bottom)
    if not (0 < width <= MAX_DIMENSION and 0 < height <= MAX_DIMENSION):
        raise CorruptFileError("its bounding box has an invalid size")
    return HeaderInfo("eps", width, height)


def _postscript(file: BinaryIO) -> tuple[int, int]:
    """Start and end of the PostScript section."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if read_exactly(file, 4) != DOS_HEADER:
        return 0, end
    start, size = struct.unpack("<II", read_exactly(file, 8))
    return start, min(start + size, end)
