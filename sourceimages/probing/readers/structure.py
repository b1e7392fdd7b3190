"""Structural completeness of files, checked without decoding.

Each format has a function `problem`, which is called for every upload and is cheap. Files with a problem are then
decoded: see `damage`.
"""

import os
from typing import BinaryIO

SHORT, EMPTY = "it ends before its image is complete", "it has no image data"
FILLING = b"\0\n\r "  # padding that programs append
TAIL = 4096


def size_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def tail(file: BinaryIO) -> bytes:
    """The end of the file, without padding."""
    file.seek(max(0, size_of(file) - TAIL))
    return file.read().rstrip(FILLING)
