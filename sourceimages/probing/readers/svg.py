"""SVG, plain or compressed. Only the root tag is read, and no references are followed."""

import codecs
import math
import re
import zlib
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from .header import MAX_DIMENSION, CorruptFileError, HeaderInfo, UnsupportedFormatError

METADATA_TAGS = {"metadata", "{http://www.w3.org/2000/svg}metadata"}
METADATA_WITHIN = 4 * 2**20  # bytes
MAX_HEAD_BYTES = 2**20  # limit for the position of the root tag
CHUNK = 16 * 1024
GZIP = b"\x1f\x8b"
GZIP_WINDOW = 31  # zlib's value for gzip headers
ROOT_TAGS = {"svg", "{http://www.w3.org/2000/svg}svg"}  # browsers ignore the tag in other namespaces
DEFAULT_WIDTH, DEFAULT_HEIGHT = 300, 150  # CSS default for images without dimensions
PIXELS = {  # by unit, at 96 dpi
    "": 1, "px": 1, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6, "pt": 96 / 72, "pc": 16,
    "em": 16, "rem": 16, "ex": 8,
}  # fmt: skip
LENGTH = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)\s*\Z", re.IGNORECASE)
ENCODINGS = {  # by first bytes
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
DECLARED_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)""")
DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*>")
BEGINS_AS_SVG = re.compile(r"\A(?>\s+|<\?[^>]*>|<!--.*?-->)*+<(?:!DOCTYPE\s+)?(?:\w+:)?svg\b", re.DOTALL)


class RootFound(Exception):
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes


class Root:
    """Parser target that stops at the first tag."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise RootFound(tag, attributes)


class MetadataFound(Exception):
    def __init__(self, element: Element) -> None:
        self.element = element


class Metadata:
    """Parser target that builds only the metadata element and stops at its end."""

    def __init__(self) -> None:
        self._builder: TreeBuilder | None = None
        self._depth = self._size = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._builder is None and tag in METADATA_TAGS:
            self._builder = TreeBuilder()
        if self._builder is not None:
            self._depth += 1
            self._builder.start(tag, attributes)

    def data(self, data: str) -> None:
        self._size += len(data)
        if self._builder is not None and self._size < MAX_HEAD_BYTES:
            self._builder.data(data)

    def end(self, tag: str) -> None:
        if self._builder is not None:
            self._builder.end(tag)
            self._depth -= 1
            if not self._depth:
                raise MetadataFound(self._builder.close())


def read(file: BinaryIO) -> HeaderInfo:
    return HeaderInfo("svg", *_size(_root(_text(file, MAX_HEAD_BYTES))))


def metadata(file: BinaryIO) -> Element | None:
    """The first metadata element; None if it does not end within METADATA_WITHIN."""
    try:
        _feed(Metadata(), _text(file, METADATA_WITHIN))
    except MetadataFound as found:
        return found.element
    except (ParseError, DefusedXmlException):
        return None
    return None


def _text(file: BinaryIO, size: int) -> str:
    file.seek(0)
    data = file.read(size)
    if data.startswith(GZIP):
        data = zlib.decompressobj(GZIP_WINDOW).decompress(data, size)
    return decode(data)


def _feed(target: Root | Metadata, text: str) -> None:
    """Parse the text. Internal entities are allowed, as drawing programs use them; external ones are not."""
    parser = DefusedXMLParser(target=target, forbid_dtd=False, forbid_entities=False, forbid_external=True)
    text = DECLARATION.sub("", text).lstrip()  # the text is decoded already, so its declared encoding does not apply
    for start in range(0, len(text), CHUNK):
        parser.feed(text[start : start + CHUNK])
    parser.close()


def decode(data: bytes) -> str:
    """The text of an SVG; bytes that its encoding does not have are replaced."""
    declared = DECLARED_ENCODING.match(data)
    encoding = declared[1].decode() if declared else "utf-8"
    encoding = next((name for start, name in ENCODINGS.items() if data.startswith(start)), encoding)
    try:
        return data.decode(encoding, errors="replace")
    except LookupError:
        raise UnsupportedFormatError("The file is text in an unknown encoding.") from None


def _root(text: str) -> dict[str, str]:
    """The attributes of the root tag."""
    if "<?php" in text:
        raise UnsupportedFormatError("The file is executable text. Scripts and HTML are not supported.")
    try:
        _feed(Root(), text)
    except RootFound as root:
        if root.tag in ROOT_TAGS:
            return root.attributes
    except (ParseError, DefusedXmlException) as error:
        if BEGINS_AS_SVG.match(DECLARATION.sub("", text).lstrip()):
            raise CorruptFileError("it is not well-formed") from error
    raise UnsupportedFormatError("The file is XML, HTML or gzip, but not a valid SVG.")


def _size(attributes: dict[str, str]) -> tuple[int, int]:
    width, height = _length(attributes.get("width")), _length(attributes.get("height"))
    if box := _view_box(attributes.get("viewBox", "")):
        if width is None and height is None:
            width, height = box
        elif width is None and height is not None:
            width = height * box[0] / box[1]
        elif height is None and width is not None:
            height = width * box[1] / box[0]
    return _whole(width, DEFAULT_WIDTH), _whole(height, DEFAULT_HEIGHT)


def _length(value: str | None) -> float | None:
    """A length in pixels; None if it is relative, invalid or missing."""
    match = LENGTH.match(value or "")
    if match is None or match[2].lower() not in PIXELS:
        return None
    return _valid_length(float(match[1]) * PIXELS[match[2].lower()])


def _view_box(value: str) -> tuple[float, float] | None:
    try:
        _, _, width, height = (_valid_length(float(side)) for side in re.split(r"[\s,]+", value.strip()))
    except ValueError:
        return None
    return (width, height) if width and height else None


def _valid_length(side: float) -> float | None:
    return side if math.isfinite(side) and 0 < side <= MAX_DIMENSION else None


def _whole(side: float | None, default: int) -> int:
    sensible = _valid_length(side) if side is not None else None
    return default if sensible is None else max(1, round(sensible))
