"""JPEG, whatever it is packed with: progressive, arithmetic, CMYK, several pictures (MPO), gain maps."""

import os
import struct
from typing import BinaryIO

from .facts import Facts, UnreadableError, take

FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
WITHOUT_CONTENT = {0x01, *range(0xD0, 0xD9)}
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def read(file: BinaryIO) -> Facts:
    file.seek(2)
    while True:
        marker = _next_marker(file)
        if marker in WITHOUT_CONTENT:
            continue
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            raise UnreadableError("its pixels start before its size is told")
        size = int.from_bytes(take(file, 2))
        if marker in FRAME_HEADERS:
            height, width = struct.unpack(">xHH", take(file, 5))
            if not width or not height:
                raise UnreadableError("its header tells no size")
            return Facts("jpg", width, height, opaque=True)
        file.seek(size - 2, os.SEEK_CUR)


def _next_marker(file: BinaryIO) -> int:
    """The next marker; decoders pass over stray bytes before it, and it may be padded with 0xFF."""
    byte = take(file, 1)
    while byte != b"\xff":
        byte = take(file, 1)
    while byte == b"\xff":
        byte = take(file, 1)
    return byte[0]
