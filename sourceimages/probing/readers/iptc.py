"""Parse IPTC datasets (Information Interchange Model, version 4.2)."""

from collections.abc import Iterator
from typing import NamedTuple

MARK = 0x1C  # first byte of every dataset
EXTENDED = 0x8000  # flag of a length: the other bits are the number of length bytes that follow
HEAD = 5  # bytes: marker, record, dataset, length


class Dataset(NamedTuple):
    record: int
    number: int
    value: bytes
    end: int  # end position in the block


def datasets(block: bytes) -> Iterator[Dataset]:
    """The complete datasets; padding follows them."""
    position = 0
    while position + HEAD <= len(block) and block[position] == MARK:
        record, number = block[position + 1], block[position + 2]
        size, start = int.from_bytes(block[position + 3 : position + HEAD]), position + HEAD
        if size & EXTENDED:
            width = size & ~EXTENDED
            size, start = int.from_bytes(block[start : start + width]), start + width
        if start + size > len(block):
            return
        yield Dataset(record, number, block[start : start + size], start + size)
        position = start + size


def trimmed(block: bytes) -> bytes:
    """The block without zero padding."""
    end = max((dataset.end for dataset in datasets(block)), default=0)
    return block[:end] if not block[end:].strip(b"\0") else block


def straight(block: bytes) -> bytes:
    """The IPTC block of a TIFF. Some programs declare it as 32-bit integers, and some swap their byte order."""
    if block[:1] != bytes([MARK]) and block[3:4] == bytes([MARK]) and len(block) % 4 == 0:
        block = b"".join(block[at : at + 4][::-1] for at in range(0, len(block), 4))
    return trimmed(block)
