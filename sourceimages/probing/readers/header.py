"""What a reader hands over, and its ways of saying no."""

from dataclasses import dataclass
from typing import BinaryIO

MAX_DIMENSION = 2**31 - 1  # what a database column holds, and more than any picture has


class CorruptFileError(Exception):
    """It starts like a known format and cannot be read as one."""


class UnsupportedFormatError(Exception):
    """It is of no format that is kept here."""


class CannotConvertError(Exception):
    """There is something in the file that another format cannot hold, or that cannot be read here."""


@dataclass(frozen=True, slots=True)
class HeaderInfo:
    """What the header of a file tells. `opaque` is None where only a look at the pixels could tell."""

    format: str
    width: int = 0
    height: int = 0
    opaque: bool | None = False
    animated: bool = False


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Exactly that many bytes: a short read would be taken for a header full of something else."""
    data = file.read(size)
    if len(data) < size:
        raise CorruptFileError("it ends too early")
    return data
