"""Metadata carried over when an image is transcoded: EXIF, XMP, IPTC and Photoshop resources.

Blocks are copied byte for byte. Lists say what is dropped; a file with anything unlisted is not transcoded.
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

# Photoshop resources that are carried in other ways, or describe layers, channels, guides, printing and previews.
DROPPED_RESOURCES = {
    *range(1000, 1004),  # channels, rows, Macintosh print manager, indexed palette, all of version 1
    1005,  # ResolutionInfo: stored in the image
    1006,  # names of alpha channels
    1007,  # DisplayInfo of version 1
    *range(1009, 1020),  # border, background color, print flags, halftoning, transfer functions, duotone
    *range(1021, 1025),  # black and white values for duotone, quick mask, layer state
    1026,  # groups of layers
    1030,  # quality of JPEG
    1032,  # grid and guides
    1033,  # thumbnail
    1036,  # thumbnail
    1037,  # global angle of effects on layers
    1039,  # color profile: stored in the image
    *range(1041, 1047),  # untagged, effects visible, spot halftone, seed of ids, alpha names, size of the palette
    1047,  # transparent entry of the palette: stored in the image
    1049,  # global altitude of effects on layers
    1050,  # slices
    1051,  # URL of the workflow
    1052,  # jump to XPEP
    1053,  # ids of alpha channels
    1057,  # version info
    1058,  # EXIF: carried as EXIF
    1060,  # XMP: carried as XMP
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
    *range(4000, 5000),  # plug-ins
    *range(7000, 7005),  # ImageReady
    8000,  # Lightroom workflow
    10000,  # print flags
}
NEUTRAL_VALUES = {1034: b"\0", 1054: bytes(4), 1061: bytes(16)}  # no copyright, no URLs, no digest of IPTC
PIXEL_ASPECT_RATIO, SQUARE = 1064, b"\x3f\xf0\0\0\0\0\0\0"  # 1.0
IPTC_DIGEST = 1061


# Data that PhotoMechanic, AFCP, FotoStation, Canon and MIE append to files.
TRAILER = re.compile(
    rb"cbipcbbl\Z|AXS[!*].{8}\Z|\xa1\xb2\xc3\xd4\Z|CANON OPTIONAL DATA\0|zmie~\0\0\x06.{4}[\x10\x18]\x04\Z", re.DOTALL
)
MAX_TRAILER = 64  # bytes at the end that identify the appended data
TRAILING = "it has data after its end"


class Carried(NamedTuple):
    """Blocks to write into another file. `resources` are Photoshop resources, including IPTC."""

    exif: bytes = b""
    xmp: bytes = b""
    resources: bytes = b""


def from_tiff(file: BinaryIO) -> Carried:
    """The blocks of a TIFF.

    Raises CannotConvertError if the file has anything else that is not known to be dispensable.
    """
    file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_TRAILER))
    if TRAILER.search(file.read()):
        raise CannotConvertError(TRAILING)
    tiff = Tiff(file)
    page = tiff.directory(tiff.first)
    exif = exif_block.from_tiff(tiff, strict=True)
    block = _block(tiff, page, tiff_tags.PHOTOSHOP)
    found = list(psd.resource_blocks(io.BytesIO(block), 0, len(block)))
    resources = {resource.number: resource.content() for resource in found}
    return Carried(
        exif=_single_block("EXIF", exif, resources.get(psd.EXIF, b"")),
        xmp=_single_block("XMP", _block(tiff, page, tiff_tags.XMP), resources.get(psd.XMP, b"")),
        resources=_joined(found, iptc.straight(_block(tiff, page, tiff_tags.IPTC))),
    )


def from_psd(file: BinaryIO) -> Carried:
    """The blocks of a PSD, without layers and extra channels. Raises CannotConvertError if data follows its end."""
    if psd.trailer(file).strip(b"\0"):
        raise CannotConvertError(TRAILING)
    found = list(psd.resources(file))
    contents = {resource.number: resource.content() for resource in found if resource.number in (psd.EXIF, psd.XMP)}
    return Carried(
        exif=contents.get(psd.EXIF, b""),
        xmp=contents.get(psd.XMP, b"").rstrip(b"\0"),
        resources=_joined(found, b""),
    )


def _block(tiff: Tiff, page: Directory, tag: int) -> bytes:
    entry = page.entries.get(tag)
    block = tiff.value(entry) if entry is not None else b""
    return block.rstrip(b"\0") if tag == tiff_tags.XMP else block


def _single_block(name: str, *blocks: bytes) -> bytes:
    """The block that is present. Raises CannotConvertError if two blocks differ."""
    different = {block.rstrip(b"\0") for block in blocks} - {b""}
    if len(different) > 1:
        raise CannotConvertError(f"it has two different {name} blocks")
    return next((block for block in blocks if block), b"")


def _joined(found: Iterable[Resource], separate_iptc: bytes) -> bytes:
    """The resources to carry over, together with a separate IPTC block."""
    carried = [resource for resource in found if resource.number not in DROPPED_RESOURCES and not _is_neutral(resource)]
    inside = [iptc.trimmed(resource.content()) for resource in carried if resource.number == psd.IPTC]
    if not _single_block("IPTC", separate_iptc, *inside):
        carried = [resource for resource in carried if resource.number not in (psd.IPTC, IPTC_DIGEST)]
    blocks = [resource.block() for resource in carried]
    if separate_iptc and not inside:
        blocks.insert(0, psd.resource_of(psd.IPTC, separate_iptc))
    return b"".join(blocks)


def _is_neutral(resource: Resource) -> bool:
    if resource.number == PIXEL_ASPECT_RATIO:
        return resource.content().endswith(SQUARE)
    return resource.content() == NEUTRAL_VALUES.get(resource.number)
