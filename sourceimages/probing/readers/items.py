"""The items of a HEIF file, listed in its meta box: images, tiles of an image, EXIF, XMP."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .boxes import Box
from .header import CorruptFileError, read_exactly
from .structure import size_of

IN_FILE, IN_BOX = 0, 1  # construction methods: position in the file, or in the "idat" box within the meta box
MAX_ITEM = 2**20  # size limit in bytes of items read into memory


class Item(NamedTuple):
    type: bytes = b""
    content_type: bytes = b""
    method: int = IN_FILE
    extents: tuple[tuple[int, int], ...] = ()  # positions and lengths of its parts; the length 0 means "until the end"

    def is_in(self, file: BinaryIO) -> bool:
        """Return whether the file contains the complete item."""
        if self.method != IN_FILE:
            return True
        end = size_of(file)
        return all(start < end and start + size <= end for start, size in self.extents)

    @property
    def is_open(self) -> bool:
        """Return whether the item extends to the end of the file, wherever that is."""
        return self.method == IN_FILE and any(size == 0 for _, size in self.extents)


class Items:
    def __init__(self, meta: Box) -> None:
        self.file = meta.file
        boxes = {box.type: box for box in meta.children(skip=4)}
        self.data, self.properties = boxes.get(b"idat"), boxes.get(b"iprp")
        primary = boxes[b"pitm"].content()
        self.primary = int.from_bytes(primary[4:])
        kinds = dict(_kinds(boxes[b"iinf"])) if b"iinf" in boxes else {}
        locations = dict(_locations(boxes[b"iloc"].content())) if b"iloc" in boxes else {}
        self.all = {
            number: Item(*kinds.get(number, (b"", b"")), *locations.get(number, (IN_FILE, ())))
            for number in kinds.keys() | locations.keys()
        }
        self.references = list(_references(boxes[b"iref"].content())) if b"iref" in boxes else []

    def parts(self) -> list[Item]:
        """The items of the primary image: its tiles, or the image itself."""
        tiles = next((to for type, of, to in self.references if (type, of) == (b"dimg", self.primary)), [self.primary])
        return [self.all[number] for number in tiles if number in self.all]

    def of_type(self, type: bytes, content_type: bytes = b"") -> list[Item]:
        return [item for item in self.all.values() if (item.type, item.content_type) == (type, content_type)]

    def profiles(self) -> Iterator[bytes]:
        """The color profiles of all images."""
        for part in self.properties.children() if self.properties else ():
            for box in part.children() if part.type == b"ipco" else ():
                if box.type == b"colr" and box.content(4) in (b"prof", b"rICC"):
                    yield box.content()[4:]

    def content(self, item: Item) -> bytes:
        if sum(size for _, size in item.extents) > MAX_ITEM:
            raise CorruptFileError("one of its items is too large")
        data = self.data.content() if item.method == IN_BOX and self.data else b""
        content = b""
        for start, size in item.extents:
            if item.method == IN_BOX:
                content += data[start : start + size]
            else:
                self.file.seek(start)
                content += read_exactly(self.file, size)
        return content


def _kinds(info: Box) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """Number, type and media type of each item."""
    version = info.content(1)[0]
    for box in info.children(skip=6 if version == 0 else 8):
        content = box.content()
        if box.type == b"infe" and content[0] >= 2:
            width = 2 if content[0] == 2 else 4
            type = content[4 + width + 2 : 4 + width + 6]
            texts = content[4 + width + 6 :].split(b"\0")  # the item name and, for some types, the media type
            yield (
                int.from_bytes(content[4 : 4 + width]),
                (type, texts[1] if type == b"mime" and len(texts) > 1 else b""),
            )


def _locations(content: bytes) -> Iterator[tuple[int, tuple[int, tuple[tuple[int, int], ...]]]]:
    """Number, method and extents of each item."""
    version = content[0]
    offset_size, length_size, base_size, index_size = content[4] >> 4, content[4] & 15, content[5] >> 4, content[5] & 15
    position = 6

    def number(size: int) -> int:
        nonlocal position
        position += size
        if position > len(content):
            raise CorruptFileError("the locations of its items are truncated")
        return int.from_bytes(content[position - size : position])

    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else IN_FILE
        reference = number(2)  # the file with the data; 0 means this one
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            if version:
                number(index_size)
            start = base + number(offset_size)
            extents.append((start, number(length_size)))
        if not reference:
            yield item, (method, tuple(extents))


def _references(content: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """Reference type, source item, and target items."""
    width = 2 if content[0] == 0 else 4
    position = 4
    while position + 8 <= len(content):
        size, type = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        numbers = content[position + 8 : position + size]
        if size < 8 + width + 2:
            return
        to = numbers[width + 2 :]
        yield (
            type,
            int.from_bytes(numbers[:width]),
            [int.from_bytes(to[at : at + width]) for at in range(0, len(to), width)],
        )
        position += size
