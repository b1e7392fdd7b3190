"""What a file has to have so that its image can be whole, as far as that is seen without decoding any of it.

Each format has a function `problem`, which is asked of every upload and costs next to nothing. A file that has one is
decoded then: see `damage`.
"""

import os
from typing import BinaryIO

SHORT, EMPTY = "it ends before its image does", "it holds no image data"
FILLING = b"\0\n\r "  # what programs fill the end of files up with
TAIL = 4096


def size_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def tail(file: BinaryIO) -> bytes:
    """The last bytes of the file, without filling."""
    file.seek(max(0, size_of(file) - TAIL))
    return file.read().rstrip(FILLING)
