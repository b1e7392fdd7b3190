"""Locate XMP packets in formats without a dedicated place for them, and parse XMP that is not well-formed."""

import mmap
import re
import zlib
from typing import Any, BinaryIO

from defusedxml import ElementTree
from defusedxml.ElementTree import ParseError

from .structure import size_of

MAX_PACKET = 2**20  # bytes
PACKET = re.compile(rb"<\?xpacket begin=.*?<\?xpacket end=[^>]{0,8}\?>", re.DOTALL)
GIF_XMP, GIF_TRAILER = b"\x21\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"
ROOT = re.compile(rb"<[A-Za-z_][^>]*?(?=/?>)")
PREFIX = re.compile(rb"(?<=[<\s/])([A-Za-z_][\w.-]*):[A-Za-z_]")
UNDECLARED = "{undeclared:"  # prefix for names of properties whose namespace prefix is not declared
CATALOG = re.compile(rb"/Type\s*/Catalog\b")
METADATA = re.compile(rb"/Metadata\s+(\d+)\s+(\d+)\s+R")
WITHIN = rb"(?:(?!endobj|stream).){0,400}?"  # within a dictionary
STREAM = re.compile(
    rb"(?<!\d)(\d+)\s+(\d+)\s+obj\s*(<<" + WITHIN + rb"/Type\s*/Metadata\b" + WITHIN + rb">>)\s*stream\r?\n", re.DOTALL
)


def parse(packet: bytes) -> Any:
    """The root element of a packet. Names of properties with an undeclared prefix start with UNDECLARED."""
    packet = packet.strip(b"\0 \n\r\t")
    try:
        return ElementTree.fromstring(packet, forbid_dtd=True)
    except ParseError:
        return ElementTree.fromstring(_declared(packet), forbid_dtd=True)


def _declared(packet: bytes) -> bytes:
    """The packet with all prefixes declared at its root. Declarations further inside take precedence."""
    root = ROOT.search(packet)
    if root is None:
        return packet
    undeclared = {prefix for prefix in PREFIX.findall(packet) if b"xmlns:" + prefix + b"=" not in root[0]} - {
        b"xml",
        b"xmlns",
    }
    declarations = b"".join(b' xmlns:%b="undeclared:%b"' % (prefix, prefix) for prefix in sorted(undeclared))
    return packet[: root.end()] + declarations + packet[root.end() :]


def of_text(file: BinaryIO) -> bytes | None:
    """The first plain packet in the file: in EPS that of the drawing, before those of placed images."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(b"<?xpacket begin=")
        found = PACKET.match(data[start : start + MAX_PACKET]) if start >= 0 else None
        return found[0] if found else None


def of_gif(file: BinaryIO) -> bytes | None:
    """The packet in the application extension, stored as plain text and followed by terminator bytes."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(GIF_XMP)
        end = data.find(GIF_TRAILER, start) if start >= 0 else -1
        return data[start + len(GIF_XMP) : end] if end >= 0 else None


def of_pdf(file: BinaryIO) -> bytes | None:
    """The packet that the catalog refers to; if the catalog is not readable, the last packet in the file."""
    with mmap.mmap(file.fileno(), size_of(file), access=mmap.ACCESS_READ) as data:
        streams = {match.group(1, 2): match for match in STREAM.finditer(data)}
        named = None
        for catalog in CATALOG.finditer(data):
            around = data[max(0, data.rfind(b"obj", 0, catalog.start())) : data.find(b"endobj", catalog.end())]
            if reference := METADATA.search(around):
                named = streams.get(reference.group(1, 2))
        chosen = named or (list(streams.values())[-1] if streams else None)
        if chosen is None:
            return None
        content = data[chosen.end() : chosen.end() + MAX_PACKET]
        if b"/FlateDecode" in chosen[3]:
            return zlib.decompressobj().decompress(content, MAX_PACKET)
        return content.partition(b"endstream")[0]
