"""Videos in MP4 and QuickTime, and sequences of images, which are built like them (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .boxes import Box, first_cut_off, readable
from .facts import UnreadableError
from .structure import EMPTY, SHORT, size_of

UNKNOWN = (2**32 - 1, 2**64 - 1)  # durations
VIDEO, IMAGES = b"vide", b"pict"  # handlers of tracks
MAX_CHUNKS = 2**20


class Track(NamedTuple):
    handler: bytes
    width: int  # as it is shown
    height: int
    samples: int
    seconds: float | None
    chunks: tuple[int, ...]  # where they are in the file


def problem(file: BinaryIO) -> str | None:
    boxes = list(readable(file))
    types = {box.type for box in boxes}
    if not types & {b"moov", b"moof"} or not any(box.type in (b"mdat", b"idat") and box.size for box in boxes):
        return EMPTY
    if first_cut_off(file):
        return SHORT
    there, total = chunks_in(file)
    return SHORT if there < total else None


def chunks_in(file: BinaryIO) -> tuple[int, int]:
    """How many chunks of its images or sounds begin within the file, and how many there are."""
    end = size_of(file)
    places = [place for track in tracks(file) for place in track.chunks]
    return sum(place < end for place in places), len(places)


def tracks(file: BinaryIO) -> Iterator[Track]:
    """Those that make sense."""
    movie = next((box for box in readable(file) if box.type == b"moov"), None)
    for box in movie.children() if movie else ():
        if box.type == b"trak":
            try:
                yield _track(box)
            except (UnreadableError, KeyError, struct.error, IndexError):
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
    return Track(handler, *_size(parts[b"tkhd"]), samples, seconds, _chunks(tables))


def _size(header: Box) -> tuple[int, int]:
    """Width and height as the track is shown: its matrix may turn it by quarters."""
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


def _chunks(tables: dict[bytes, Box]) -> tuple[int, ...]:
    for type, width, letter in ((b"stco", 4, "I"), (b"co64", 8, "Q")):
        if type in tables:
            content = tables[type].content()
            count = min(int.from_bytes(content[4:8]), (len(content) - 8) // width, MAX_CHUNKS)
            return struct.unpack_from(f">{count}{letter}", content, 8)
    return ()
