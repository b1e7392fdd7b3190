"""What a reader hands over, and its ways of saying no."""

from dataclasses import dataclass
from typing import BinaryIO

LARGEST_SIDE = 2**31 - 1  # what a database column holds, and more than any picture has


class UnreadableError(Exception):
    """It starts like a known format and cannot be read as one."""


class NotKeptError(Exception):
    """It is of no format that is kept here."""


class NotHeldError(Exception):
    """There is something in the file that another format cannot hold, or that cannot be read here."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of a file tells. `opaque` is None where only a look at the pixels could tell."""

    format: str
    width: int = 0
    height: int = 0
    opaque: bool | None = False
    animated: bool = False


def take(file: BinaryIO, size: int) -> bytes:
    """Exactly that many bytes: a short read would be taken for a header full of something else."""
    data = file.read(size)
    if len(data) < size:
        raise UnreadableError("it ends too early")
    return data
