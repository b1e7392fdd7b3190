"""Decode the merged image of a PSD or PSB for libvips, from planar channels.

Pillow can't replace it: see `psd`. Only its decoder of PackBits is used.
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO

import pyvips
from PIL import Image

from . import psd
from .header import CannotConvertError, CorruptFileError, read_exactly

GREY, INDEXED, RGB, CMYK = 1, 2, 3, 4  # color modes
MODES = {GREY: ("b-w", "grey16"), INDEXED: ("srgb", ""), RGB: ("srgb", "rgb16"), CMYK: ("cmyk", "")}
INCH = 25.4  # millimeters


def unpack(path: str, descriptor: int) -> None:
    """Write the channels to an open file, if they are compressed."""
    with open(path, "rb") as file:
        header = _checked_header(file)
        if psd.find_pixels(file, header) != psd.RUN_LENGTHS:
            return
        width = header.width * header.depth // 8
        with open(descriptor, "wb", buffering=2**20, closefd=False) as plain:
            for length in psd.row_lengths(file, header):
                # Pillow's decoder of PackBits, the run-length encoding of Macintosh, raises an error if a row is too
                # short.
                row = Image.frombytes("L", (width, 1), read_exactly(file, length), "packbits", "L")
                plain.write(row.tobytes())


def load(path: str, unpacked: str) -> pyvips.Image:
    """The image with color profile and resolution. Compressed channels are read from `unpacked`."""
    with open(path, "rb") as file:
        header = _checked_header(file)
        if psd.find_pixels(file, header) == psd.RAW:
            image = _joined(path, file.tell(), header)
        else:
            image = _joined(unpacked, 0, header)
        if header.mode == CMYK:
            image = image.invert()  # PSD stores CMYK inverted
        elif header.mode == INDEXED:
            image = image.maplut(_palette(file))
        return _with_properties(image.copy(interpretation=_interpretation(header)), file)


def _checked_header(file: BinaryIO) -> psd.Header:
    header = psd.read_header(file)
    if header.depth not in (8, 16):
        raise CannotConvertError(f"PNG can't hold {header.depth} bits per channel")
    if not _interpretation(header):
        raise CannotConvertError(f"its color mode {header.mode} with {header.depth} bits can't be converted")
    if header.channels != psd.COLOR_MODES[header.mode] + psd.has_alpha(file, header):
        raise CannotConvertError("it has channels beyond colors and transparency")
    if psd.find_pixels(file, header) not in (psd.RAW, psd.RUN_LENGTHS):
        raise CannotConvertError("its pixels have an unsupported compression")
    return header


def _interpretation(header: psd.Header) -> str:
    return MODES.get(header.mode, ("", ""))[header.depth == 16]


def _joined(source: str, start: int, header: psd.Header) -> pyvips.Image:
    size = header.width * header.height * header.depth // 8
    channels: Sequence[pyvips.Image] = [
        pyvips.Image.rawload(
            source,
            header.width,
            header.height,
            1,
            offset=start + number * size,
            format="ushort" if header.depth == 16 else "uchar",
        )
        for number in range(header.channels)
    ]
    image = channels[0].bandjoin(list(channels[1:])) if len(channels) > 1 else channels[0]
    return image.byteswap() if header.depth == 16 else image


def _palette(file: BinaryIO) -> pyvips.Image:
    """The palette: 256 red, then 256 green, then 256 blue values."""
    file.seek(26)
    if int.from_bytes(read_exactly(file, 4)) != 768:
        raise CorruptFileError("it has no palette")
    planes = [pyvips.Image.new_from_memory(read_exactly(file, 256), 256, 1, 1, "uchar") for _ in range(3)]
    return planes[0].bandjoin(planes[1:])


def _with_properties(image: pyvips.Image, file: BinaryIO) -> pyvips.Image:
    for resource in psd.resources(file):
        if resource.number == psd.ICC:
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", resource.content())
        elif resource.number == psd.RESOLUTION:
            across, down = (value / 2**16 / INCH for value in struct.unpack(">I4xI", resource.content()[:12]))
            if across > 0 and down > 0:
                image = image.copy(xres=across, yres=down)
    return image
