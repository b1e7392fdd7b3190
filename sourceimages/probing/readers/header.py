"""Results and errors of readers."""

from dataclasses import dataclass
from typing import BinaryIO

MAX_DIMENSION = 2**31 - 1  # limit of the database column, and more than any image has


class CorruptFileError(Exception):
    """The file has the signature of a known format, but can't be read as such."""


class UnsupportedFormatError(Exception):
    """The file format is not supported."""


class CannotConvertError(Exception):
    """The target format can't hold something in the file, or it can't be read here."""


@dataclass(frozen=True, slots=True)
class HeaderInfo:
    """The content of a file header. `opaque=None` means that it depends on the pixels."""

    format: str
    width: int = 0
    height: int = 0
    opaque: bool | None = False
    animated: bool = False


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises CorruptFileError at the end of the file, so that short reads aren't parsed as headers.
    """
    data = file.read(size)
    if len(data) < size:
        raise CorruptFileError("it ends too early")
    return data
