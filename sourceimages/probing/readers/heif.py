"""HEIC and AVIF, stills and sequences.

The size is that of the decoded primary item, after cropping and rotation, which are part of the format. An EXIF
orientation is not applied.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from . import frames, movie
from .boxes import Box, first_cut_off, readable, walk
from .header import CorruptFileError, HeaderInfo
from .items import Item, Items
from .native import LibraryMissingError
from .structure import EMPTY, SHORT

ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")

OPEN = "its image has no end"


class PrimaryImage(NamedTuple):
    width: int
    height: int
    has_alpha: bool
    animated: bool = False


def read_avif(file: BinaryIO) -> HeaderInfo:
    return _facts("avif", file)


def read_heic(file: BinaryIO) -> HeaderInfo:
    return _facts("heic", file)


def is_avif_opaque(path: str) -> bool:
    return frames.all_frames_opaque(path, "AVIF")


def register_decoder() -> None:
    """Let Pillow decode HEIC. Raises LibraryMissingError: pillow-heif is optional, as its wheels are under the GPL."""
    try:
        import pillow_heif
    except ImportError as error:
        raise LibraryMissingError("pillow-heif") from error
    pillow_heif.options.DECODE_THREADS = 1  # each thread takes address space, which is limited
    pillow_heif.register_heif_opener()


def is_heic_opaque(path: str) -> bool:
    register_decoder()
    return frames.all_frames_opaque(path, "HEIF")


def _facts(format: str, file: BinaryIO) -> HeaderInfo:
    boxes = {box.type: box for box in walk(file)}
    images = [read(boxes[type]) for type, read in READERS.items() if type in boxes]
    if not images or not images[0].width or not images[0].height:
        raise CorruptFileError("it has no image with a size")
    has_alpha = any(image.has_alpha for image in images)
    animated = any(image.animated for image in images)
    return HeaderInfo(format, images[0].width, images[0].height, opaque=None if has_alpha else True, animated=animated)


def _still(meta: Box) -> PrimaryImage:
    """The primary item with its properties applied in order."""
    boxes = {box.type: box for box in meta.children(skip=4)}
    item = int.from_bytes(boxes[b"pitm"].content()[4:])
    parts = list(boxes[b"iprp"].children())
    properties = [property for part in parts if part.type == b"ipco" for property in part.children()]
    indices = [index for part in parts if part.type == b"ipma" for index in _associations(part.content(), item)]
    width = height = 0
    for index in indices:
        property = properties[index - 1]
        if property.type == b"ispe":
            width, height = struct.unpack(">4xII", property.content(12))
        elif property.type == b"clap":
            width_over, width_under, height_over, height_under = struct.unpack(">4I", property.content(16))
            width, height = round(width_over / width_under), round(height_over / height_under)
        elif property.type == b"irot" and property.content(1)[0] & 1:
            width, height = height, width
    has_alpha = any(property.type == b"auxC" and property.content()[4:].startswith(ALPHA) for property in properties)
    return PrimaryImage(width, height, has_alpha)


def _associations(content: bytes, wanted: int) -> Iterator[int]:
    """The 1-based property numbers of an item."""
    item_size = 4 if content[0] else 2
    index_size = 2 if content[3] & 1 else 1
    position = 8
    for _ in range(int.from_bytes(content[4:8])):
        item = int.from_bytes(content[position : position + item_size])
        position += item_size
        end = position + 1 + content[position] * index_size
        if item == wanted:
            for start in range(position + 1, end, index_size):
                index = int.from_bytes(content[start : start + index_size]) & (2 ** (8 * index_size - 1) - 1)
                if index:  # 0 means no property
                    yield index
        position = end


def _sequence(moov: Box) -> PrimaryImage:
    """The tracks: images, and optionally their alpha."""
    width = height = samples = 0
    has_alpha = False
    for track in moov.children():
        if track.type != b"trak":
            continue
        parts = {box.type: box for box in track.children()}
        media = {box.type: box for box in parts[b"mdia"].children()}
        handler = media[b"hdlr"].content(12)[8:]
        if handler == b"auxv":
            has_alpha = True
        elif handler == b"pict":
            width, height = struct.unpack(">H2xH2x", parts[b"tkhd"].content()[-8:])
            tables = next(box for box in media[b"minf"].children() if box.type == b"stbl")
            sizes = next(box for box in tables.children() if box.type in (b"stsz", b"stz2"))
            samples = int.from_bytes(sizes.content(12)[8:])
    return PrimaryImage(width, height, has_alpha, animated=samples > 1)


def _minimal(mini: Box) -> PrimaryImage:
    """The `mini` box, which replaces all other boxes in small files; its fields are bit-packed."""
    bits = f"{int.from_bytes(mini.content(8)):064b}"
    has_alpha, turned, large = bits[5] == "1", int(bits[13:16], 2) >= 4, bits[16] == "1"
    length = 15 if large else 7
    width, height = (int(bits[start : start + length], 2) + 1 for start in (17, 17 + length))
    return PrimaryImage(*((height, width) if turned else (width, height)), has_alpha)


READERS = {b"meta": _still, b"mini": _minimal, b"moov": _sequence}  # the first box found determines the size


def problem(file: BinaryIO) -> str | None:
    available, total = parts(file)
    if available < total or is_cut_off(file):
        return SHORT if available else EMPTY
    return OPEN if any(part.is_open for part in _parts(file)) else None


def is_cut_off(file: BinaryIO) -> bool:
    """Return whether a box or an item, of the image or not, is incomplete."""
    items = _items(file)
    return bool(first_cut_off(file)) or not all(item.is_in(file) for item in (items.all.values() if items else ()))


def is_sequence(file: BinaryIO) -> bool:
    return any(box.type == b"moov" for box in readable(file))


def parts(file: BinaryIO) -> tuple[int, int]:
    """Number of available parts of the image, and of all its parts: tiles, or frames of a sequence."""
    if is_sequence(file):
        return movie.samples_in(file, movie.IMAGES)
    parts = _parts(file)
    return sum(part.is_in(file) for part in parts), len(parts)


def _parts(file: BinaryIO) -> list[Item]:
    items = _items(file)
    return items.parts() if items else []


def _items(file: BinaryIO) -> Items | None:
    meta = next((box for box in readable(file) if box.type == b"meta"), None)
    return Items(meta) if meta else None
