"""GIF. The size is that of the logical screen; uncovered parts are transparent."""

import os
import struct
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Literal

import pyvips

from . import alpha
from .canvas import Area, Frame, covers_canvas
from .header import CorruptFileError, HeaderInfo, read_exactly
from .structure import EMPTY, SHORT, tail

DISPOSAL: dict[int, Literal["cleared", "restored"]] = {2: "cleared", 3: "restored"}
EXTENSION, GRAPHIC_CONTROL, IMAGE = 0x21, 0xF9, 0x2C
TRAILER = b";"
MIN_DATA = 2  # in bytes: the data of a frame starts with the code size, which encodes no pixel


def read(file: BinaryIO) -> HeaderInfo:
    width, height = _screen(file)
    if not width or not height:
        raise CorruptFileError("its header has no size")
    return HeaderInfo("gif", width, height, opaque=None, animated=_has_two_frames(file))


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        width, height = _screen(file)
        frames = list(_frames(file))
    if not frames or not covers_canvas(width, height, frames):
        return False
    if not any(frame.transparent for frame in frames):
        return True
    return alpha.is_opaque(pyvips.Image.gifload(path, n=-1, access="sequential", fail_on="truncated"))


def _has_two_frames(file: BinaryIO) -> bool:
    try:
        return len(list(islice(_frames(file), 2))) == 2
    except CorruptFileError:  # truncated within the first: viewers show the part that exists
        return False


def _screen(file: BinaryIO) -> tuple[int, int]:
    """Width and height; moves the file behind the color table."""
    file.seek(6)
    width, height, flags = struct.unpack("<HHBxx", read_exactly(file, 7))
    _skip_color_table(file, flags)
    return width, height


def _frames(file: BinaryIO) -> Iterator[Frame]:
    """The frames up to the trailer, the end of the file or the first invalid byte."""
    control = 0
    while introducer := file.read(1):
        if introducer[0] == EXTENSION:
            if read_exactly(file, 1)[0] == GRAPHIC_CONTROL:
                control = read_exactly(file, 2)[1]
                file.seek(-2, os.SEEK_CUR)
        elif introducer[0] == IMAGE:
            left, top, width, height, flags = struct.unpack("<4HB", read_exactly(file, 9))
            area = Area(left, top, width, height)
            yield Frame(area, DISPOSAL.get(control >> 2 & 7, "kept"), transparent=bool(control & 1))
            _skip_color_table(file, flags)
            read_exactly(file, 1)  # the minimum code size
            control = 0
        else:
            return
        while size := read_exactly(file, 1)[0]:
            file.seek(size, os.SEEK_CUR)


def _skip_color_table(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 * 2 ** ((flags & 7) + 1), os.SEEK_CUR)


def problem(file: BinaryIO) -> str | None:
    sizes, complete = frame_sizes(file, limit=1 if tail(file).endswith(TRAILER) else None)
    if not sizes or sizes[0] < MIN_DATA:
        return EMPTY
    return None if complete else SHORT


def frame_sizes(file: BinaryIO, *, limit: int | None = None) -> tuple[list[int], bool]:
    """Number of data bytes of each frame, and whether the last frame is complete."""
    sizes: list[int] = []
    _screen(file)
    try:
        while (introducer := file.read(1)) and introducer != TRAILER and len(sizes) != limit:
            if introducer[0] == EXTENSION:
                read_exactly(file, 1)
                deque(_block_sizes(file), maxlen=0)
            elif introducer[0] == IMAGE:
                sizes.append(0)
                _skip_color_table(file, read_exactly(file, 9)[8])
                read_exactly(file, 1)
                for size in _block_sizes(file):
                    sizes[-1] += size
            else:
                return sizes, True
    except CorruptFileError:
        return sizes, False
    return sizes, True


def _block_sizes(file: BinaryIO) -> Iterator[int]:
    """Available bytes of each data block; the file is then positioned behind it.

    Raises CorruptFileError if the end is missing.
    """
    while size := read_exactly(file, 1)[0]:
        available = len(file.read(size))
        yield available
        if available < size:
            raise CorruptFileError("it ends too early")
