"""Generated files with a TIFF structure: camera raws, multiple pages, and tags of all types."""

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

Tags = Mapping[int, Any]

STRIP_OFFSETS, SUB_IFDS, EXIF, GPS = 273, 330, 34665, 34853
RGB, CFA, LINEAR_RAW = 2, 32803, 34892


def image(width: int, height: int, *, reduced: bool = False, photometric: int = RGB) -> dict[int, Any]:
    """Tags of an image without pixels."""
    return {254: int(reduced), 256: width, 257: height, 259: 1, 262: photometric}


def pixels(width: int, height: int) -> dict[int, Any]:
    """Tags of a gray image that can be decoded; its pixels are 0, 1, 2 …"""
    content = bytes(number % 251 for number in range(width * height))
    return {
        256: width,
        257: height,
        258: (8,),
        259: 1,
        262: 1,
        STRIP_OFFSETS: content,
        277: 1,
        278: height,
        279: len(content),
    }


def build(*pages: Tags, order: str = "<", head: bytes = b"") -> bytes:
    """Build a file. `head` is everything before the first page, with a placeholder for the offset of the first page.

    A value is a number, a tuple of numbers, a text, bytes, a fraction, or a list of directories the tag points to. The
    value of tag 273 is the pixels; the tag gets their offset.
    """
    start = head or (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    first = len(start) + len(start) % 2
    written = start[:4] + struct.pack(f"{order}I", first) + start[8:] + b"\0" * (len(start) % 2)
    for number, page in enumerate(pages):
        packed = _directory(page, order, len(written))
        following = len(written) + len(packed) if number + 1 < len(pages) else 0
        at = 2 + 12 * len(page)
        written += packed[:at] + struct.pack(f"{order}I", following) + packed[at + 4 :]
    return written


def _directory(tags: Tags, order: str, address: int) -> bytes:
    entries, heap = b"", b""
    start = address + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        heap += b"\0" * (len(heap) % 2)
        addresses = []
        for part in _pointed_to(tag, value):
            addresses.append(start + len(heap))
            heap += part if isinstance(part, bytes) else _directory(part, order, start + len(heap))
            heap += b"\0" * (len(heap) % 2)
        type, count, content = _packed(tuple(addresses) or value, order)
        entries += struct.pack(f"{order}HHI", tag, type, count)
        if len(content) <= 4:
            entries += content.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", start + len(heap))
            heap += content
    heap += b"\0" * (len(heap) % 2)
    return struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + heap


def _pointed_to(tag: int, value: Any) -> Sequence[Any]:
    """The data that the tag points to."""
    if tag == STRIP_OFFSETS:
        return [value]
    return value if isinstance(value, list) and isinstance(value[0], Mapping) else []


def _packed(value: Any, order: str) -> tuple[int, int, bytes]:
    match value:
        case str():
            content = value.encode() + b"\0"
            return 2, len(content), content
        case bytes():
            return 7, len(value), value
        case Fraction():
            return 5, 1, struct.pack(f"{order}II", value.numerator, value.denominator)
        case list():
            return 5, len(value), b"".join(_packed(one, order)[2] for one in value)
        case tuple():
            return 4, len(value), struct.pack(f"{order}{len(value)}I", *value)
    return 4, 1, struct.pack(f"{order}I", value)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmp:Label="Gr\xc3\xbcn"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def iptc(**fields: str) -> bytes:
    """IPTC datasets of record 2: caption, byline, keywords, copyright_notice."""
    numbers = {"caption": 120, "byline": 80, "keywords": 25, "copyright_notice": 116}
    values = [(numbers[name], value.encode()) for name, value in fields.items()]
    return b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in values)


def exif() -> dict[int, Any]:
    """EXIF tags for the first page of a TIFF."""
    degrees = [Fraction(47), Fraction(30), Fraction(0)]
    return {
        270: "Hafen, G\u00fcterbahnhof",
        271: "Canon",
        274: 6,
        282: Fraction(300),
        283: Fraction(300),
        296: 2,
        306: "2024:06:12 09:00:00",
        315: "Kim Lee",
        33432: "(c) 2024 Kim Lee",
        EXIF: [{36867: "2024:06:11 10:00:00", 36868: "2024:06:11 10:00:00", 33434: Fraction(1, 250), 36880: "+02:00"}],
        GPS: [{0: b"\2\3\0\0", 1: "N", 2: degrees, 3: "W", 4: degrees, 6: Fraction(408)}],
    }


def dng(*, order: str = "<") -> bytes:
    """A DNG whose IFD0 is a preview; the photo and a larger preview are in SubIFDs."""
    below = [image(600, 400, photometric=CFA), image(300, 200, reduced=True)]
    preview = pixels(16, 12) | {254: 1, 271: "Leica", 272: "M10", 50706: b"\1\4\0\0", SUB_IFDS: below}
    return build(preview, order=order)


def raw(make: str, **tags: Any) -> bytes:
    """A camera raw of the usual structure: a preview, with the photo in a SubIFD."""
    return build(pixels(16, 12) | {254: 1, 271: make, SUB_IFDS: [image(600, 400, photometric=CFA)]})
