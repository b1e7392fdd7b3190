"""What goes along when an image is written in another format: EXIF, XMP, and what Photoshop and IPTC say.

Blocks are kept as they are, byte for byte. What is dropped stands in a list; what is in none leaves the file alone.
"""

import io
import os
import re
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from . import exif_block, iptc, psd, tiff_tags
from .header import CannotConvertError
from .ifds import Directory, Tiff
from .psd import Resource

# Of the resources of Photoshop: carried in other ways, or about layers, channels, guides, printing and previews.
DROPPED_RESOURCES = {
    *range(1000, 1004),  # channels, rows, Macintosh print manager, indexed palette, of the first version
    1005,  # ResolutionInfo: the image has it
    1006,  # names of alpha channels
    1007,  # DisplayInfo of the first version
    *range(1009, 1020),  # border, background colour, print flags, halftoning, transfer functions, duotone
    *range(1021, 1025),  # black and white values for duotone, quick mask, layer state
    1026,  # groups of layers
    1030,  # quality of JPEG
    1032,  # grid and guides
    1033,  # thumbnail
    1036,  # thumbnail
    1037,  # global angle of effects on layers
    1039,  # colour profile: the image has it
    *range(1041, 1047),  # untagged, effects visible, spot halftone, seed of ids, alpha names, size of the palette
    1047,  # transparent entry of the palette: the image has it
    1049,  # global altitude of effects on layers
    1050,  # slices
    1051,  # URL of the workflow
    1052,  # jump to XPEP
    1053,  # ids of alpha channels
    1057,  # version info
    1058,  # EXIF: carried as such
    1060,  # XMP: carried as such
    1062,  # print scale
    1065,  # layer comps
    1066,  # alternate duotone
    1067,  # alternate spot
    1069,  # selected layers
    1070,  # HDR toning
    1071,  # print info
    1072,  # groups of layers
    1074,  # measurement scale
    1075,  # timeline
    1076,  # sheet disclosure
    1077,  # DisplayInfo
    1078,  # onion skins
    1080,  # count info
    1082,  # print info
    1083,  # print style
    1084,  # print info of macOS
    1085,  # print info of Windows
    1088,  # auto-save format
    *range(4000, 5000),  # of plug-ins
    *range(7000, 7005),  # of ImageReady
    8000,  # Lightroom workflow
    10000,  # print flags
}
NEUTRAL_VALUES = {1034: b"\0", 1054: bytes(4), 1061: bytes(16)}  # no copyright, no URLs, no digest of any IPTC
PIXEL_ASPECT_RATIO, SQUARE = 1064, b"\x3f\xf0\0\0\0\0\0\0"  # 1.0
IPTC_DIGEST = 1061


# What programs have put behind the end of files: PhotoMechanic, AFCP, FotoStation, Canon, MIE.
TRAILER = re.compile(
    rb"cbipcbbl\Z|AXS[!*].{8}\Z|\xa1\xb2\xc3\xd4\Z|CANON OPTIONAL DATA\0|zmie~\0\0\x06.{4}[\x10\x18]\x04\Z", re.DOTALL
)
MAX_TRAILER = 64  # bytes at the end in which it says what it is
TRAILING = "it has something behind its end"


class Carried(NamedTuple):
    """Blocks to write into another file. `resources` are those of Photoshop, IPTC among them."""

    exif: bytes = b""
    xmp: bytes = b""
    resources: bytes = b""


def from_tiff(file: BinaryIO) -> Carried:
    """NotHeldError where the file has more than that, and it is not known to be dispensable."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_TRAILER))
    if TRAILER.search(file.read()):
        raise CannotConvertError(TRAILING)
    tiff = Tiff(file)
    page = tiff.directory(tiff.first)
    exif = exif_block.from_tiff(tiff, strict=True)
    block = _block(tiff, page, tiff_tags.PHOTOSHOP)
    said = list(psd.resource_blocks(io.BytesIO(block), 0, len(block)))
    resources = {resource.number: resource.content() for resource in said}
    return Carried(
        exif=_one("EXIF", exif, resources.get(psd.EXIF, b"")),
        xmp=_one("XMP", _block(tiff, page, tiff_tags.XMP), resources.get(psd.XMP, b"")),
        resources=_joined(said, iptc.straight(_block(tiff, page, tiff_tags.IPTC))),
    )


def from_psd(file: BinaryIO) -> Carried:
    """The same; everything but layers and channels counts."""
    if psd.trailer(file).strip(b"\0"):
        raise CannotConvertError(TRAILING)
    said = list(psd.resources(file))
    contents = {one.number: one.content() for one in said if one.number in (psd.EXIF, psd.XMP)}
    return Carried(
        exif=contents.get(psd.EXIF, b""),
        xmp=contents.get(psd.XMP, b"").rstrip(b"\0"),
        resources=_joined(said, b""),
    )


def _block(tiff: Tiff, page: Directory, tag: int) -> bytes:
    entry = page.entries.get(tag)
    block = tiff.value(entry) if entry is not None else b""
    return block.rstrip(b"\0") if tag == tiff_tags.XMP else block


def _one(name: str, *blocks: bytes) -> bytes:
    """The block that is there; NotHeldError where two of them say different things."""
    different = {block.rstrip(b"\0") for block in blocks} - {b""}
    if len(different) > 1:
        raise CannotConvertError(f"it has {name} twice, and not the same")
    return next((block for block in blocks if block), b"")


def _joined(said: Iterable[Resource], beside: bytes) -> bytes:
    """The resources that are worth keeping, with the IPTC that stands beside them."""
    kept = [one for one in said if one.number not in DROPPED_RESOURCES and not _is_neutral(one)]
    inside = [iptc.trimmed(one.content()) for one in kept if one.number == psd.IPTC]
    if not _one("IPTC", beside, *inside):
        kept = [one for one in kept if one.number not in (psd.IPTC, IPTC_DIGEST)]
    blocks = [one.block() for one in kept]
    if beside and not inside:
        blocks.insert(0, psd.resource_of(psd.IPTC, beside))
    return b"".join(blocks)


def _is_neutral(resource: Resource) -> bool:
    if resource.number == PIXEL_ASPECT_RATIO:
        return resource.content().endswith(SQUARE)
    return resource.content() == NEUTRAL_VALUES.get(resource.number)
