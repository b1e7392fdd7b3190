"""Videos in MP4 and QuickTime, and image sequences in HEIF (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise, repeat
from typing import BinaryIO, NamedTuple

from .boxes import Box, first_cut_off, readable
from .header import CorruptFileError
from .structure import EMPTY, SHORT, size_of

UNKNOWN = (2**32 - 1, 2**64 - 1)  # durations
IMAGES = b"pict"  # track handler
MAX_SAMPLES = 2**20


class Track(NamedTuple):
    handler: bytes
    width: int  # as displayed
    height: int
    samples: int
    seconds: float | None
    ends: tuple[int, ...]  # end position of each sample in the file, as far as the tables are readable


def problem(file: BinaryIO) -> str | None:
    boxes = list(readable(file))
    types = {box.type for box in boxes}
    if not types & {b"moov", b"moof"} or not any(box.type in (b"mdat", b"idat") and box.size for box in boxes):
        return EMPTY
    if cut_off := first_cut_off(file):
        return EMPTY if cut_off == b"moov" else SHORT  # without all tables, no sample can be located
    complete, total = samples_in(file)
    return SHORT if complete < total else None


def samples_in(file: BinaryIO, *handlers: bytes) -> tuple[int, int]:
    """Number of complete samples (frames or pieces of sound) in the file, and of all samples."""
    end = size_of(file)
    ends = [position for track in tracks(file) if track.handler in handlers or not handlers for position in track.ends]
    return sum(position <= end for position in ends), len(ends)


def tracks(file: BinaryIO) -> Iterator[Track]:
    """The valid tracks."""
    movie = next((box for box in readable(file) if box.type == b"moov"), None)
    for box in movie.children() if movie else ():
        if box.type == b"trak":
            try:
                yield _track(box)
            except (CorruptFileError, KeyError, struct.error, IndexError):
                continue


def _track(box: Box) -> Track:
    parts = {part.type: part for part in box.children()}
    media = {part.type: part for part in parts[b"mdia"].children()} if b"mdia" in parts else {}
    handler = media[b"hdlr"].content(12)[8:] if b"hdlr" in media else b""
    information = {part.type: part for part in media[b"minf"].children()} if b"minf" in media else {}
    tables = {part.type: part for part in information[b"stbl"].children()} if b"stbl" in information else {}
    sizes = tables.get(b"stsz") or tables.get(b"stz2")
    samples = int.from_bytes(sizes.content(12)[8:]) if sizes else 0
    seconds = _seconds(media[b"mdhd"]) if b"mdhd" in media else None
    return Track(handler, *_size(parts[b"tkhd"]), samples, seconds, tuple(_ends(tables)))


def _size(header: Box) -> tuple[int, int]:
    """Displayed width and height: the matrix of the track can rotate it by 90 degrees."""
    content = header.content()
    a, b, c, d = struct.unpack(">ii4xii", content[-44:-24])
    width, height = (number >> 16 for number in struct.unpack(">II", content[-8:]))
    turned = not a and not d and b and c
    return (height, width) if turned else (width, height)


def _seconds(header: Box) -> float | None:
    head = header.content(32)
    layout = ">20xIQ" if head[0] == 1 else ">12xII"
    scale, duration = struct.unpack_from(layout, head)
    return duration / scale if scale and duration not in UNKNOWN else None


def _ends(tables: dict[bytes, Box]) -> Iterator[int]:
    """End positions of the samples. They are stored in consecutive chunks, located by tables."""
    chunk_offsets = _numbers(tables.get(b"stco"), 8, "I") or _numbers(tables.get(b"co64"), 8, "Q")
    runs = _numbers(tables.get(b"stsc"), 8, "I")  # first chunk, samples per chunk, description
    sizes = iter(_sizes(tables.get(b"stsz")))
    firsts = [*runs[0::3], len(chunk_offsets) + 1]
    for number, (first, following) in enumerate(pairwise(firsts)):
        for position in chunk_offsets[max(0, first - 1) : max(0, following - 1)]:
            end = position
            for size in islice(sizes, runs[3 * number + 1]):
                end += size
                yield end


def _sizes(table: Box | None) -> Iterable[int]:
    if table is None:
        return ()
    size, count = struct.unpack_from(">II", table.content(12), 4)
    return repeat(size, min(count, MAX_SAMPLES)) if size else _numbers(table, 12, "I")


def _numbers(table: Box | None, start: int, letter: str) -> tuple[int, ...]:
    if table is None:
        return ()
    content = table.content()
    count = min((len(content) - start) // struct.calcsize(f">{letter}"), MAX_SAMPLES)
    return struct.unpack_from(f">{max(0, count)}{letter}", content, start)
