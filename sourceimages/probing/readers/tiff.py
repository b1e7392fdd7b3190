"""TIFF and BigTIFF, in both byte orders. The first page counts; an orientation tag is not applied.

Camera raws that are built like one are told apart here, by what is in them.
"""

from typing import BinaryIO

import pyvips

from . import alpha, cameraraw
from .facts import Facts, UnreadableError
from .ifds import Directory, Tiff

WIDTH, HEIGHT, SAMPLES, EXTRA_SAMPLES = 256, 257, 277, 338
ALPHA = (1, 2)  # kinds of extra samples: premultiplied or not


def read(file: BinaryIO) -> Facts:
    tiff = Tiff(file)
    if raw := cameraraw.read(tiff):
        return raw
    page = tiff.directory(tiff.first)
    width, height = tiff.number(page, WIDTH), tiff.number(page, HEIGHT)
    if not width or not height:
        raise UnreadableError("its first page has no size")
    return Facts("tif", width, height, opaque=True if _alpha_band(tiff, page) is None else None)


def is_opaque(path: str) -> bool:
    with open(path, "rb") as file:
        tiff = Tiff(file)
        band = _alpha_band(tiff, tiff.directory(tiff.first))
    return alpha.is_full(pyvips.Image.tiffload(path, access="sequential", fail_on="truncated"), band=band)


def _alpha_band(tiff: Tiff, page: Directory) -> int | None:
    extra = tiff.numbers(page, EXTRA_SAMPLES)
    colours = tiff.number(page, SAMPLES, 1) - len(extra)
    return next((colours + number for number, kind in enumerate(extra) if kind in ALPHA), None)
