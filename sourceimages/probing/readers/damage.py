"""Determine how much of a damaged file can be decoded: everything, a part, or nothing."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import pyvips
from PIL import Image, ImageFile

from . import alpha, frames, gif, heif, jpeg, movie, png, psd, tiff, webp  # noqa: F401 (alpha: no cache)
from .header import CorruptFileError
from .ifds import Tiff
from .native import LibraryMissingError, library
from .structure import EMPTY

ROWS, SCANS, FRAMES, TILES, PAGES, PIXELS = "rows", "scans", "frames", "tiles", "pages", "pixels"
SAMPLES, LAYERS_ONLY, END = "samples", "merged image", "end"
STRIP = 8  # rows decoded at once
NOTHING = "and no part of its image can be decoded"


def examine(path: str, format: str, problem: str) -> dict[str, Any]:
    """{} if the image is complete, {"damaged": missing parts} if a part is, or {"unreadable": reason}."""
    try:
        with open(path, "rb") as file:
            missing: dict[str, Any] | None = CHECKS[format](file)
    except (MemoryError, LibraryMissingError):  # says nothing about the file
        missing = _missing(END)
    except Exception:  # noqa: BLE001, libraries raise any error for damaged files
        return {"unreadable": f"The file is damaged: {problem}, {NOTHING}."}
    return {"damaged": missing} if missing else {}


def _missing(what: str, decoded: int | None = None, total: int | None = None) -> dict[str, Any]:
    """The description of the missing parts. Totals that only the missing part contains are omitted."""
    found: dict[str, Any] = {"missing": what}
    if decoded is not None:
        found["decoded"] = decoded
    if total is not None:
        found["total"] = total
    return found


def _part(what: str, decoded: int, total: int) -> dict[str, Any] | None:
    if not decoded:
        raise CorruptFileError(NOTHING)
    return _missing(what, decoded, total) if decoded < total else None


def _rows(image: pyvips.Image) -> int:
    """Number of rows that can be decoded, from the top."""
    region, row = pyvips.Region.new(image), 0
    try:
        while row < image.height:
            height = min(STRIP, image.height - row)
            region.fetch(0, row, image.width, height)
            row += height
    except pyvips.Error as error:
        if "memory" in str(error).lower():
            raise MemoryError from error
    return row


def _jpeg(file: BinaryIO) -> dict[str, Any] | None:
    found = jpeg.scans(file)
    if not sum(found.sizes):
        raise CorruptFileError(NOTHING)
    file.seek(0)
    data = file.read() + jpeg.END  # so that the decoder reports missing pixels, but not a missing end marker
    rows = _rows(pyvips.Image.jpegload_buffer(data, access="sequential", fail_on="warning"))
    if rows or not found.progressive:
        return _part(ROWS, rows, found.height)
    if found.sizes[0] * 8 < found.row_blocks:
        raise CorruptFileError(NOTHING)
    pyvips.Image.jpegload_buffer(data, access="sequential", fail_on="none").avg()
    return _missing(SCANS, len(found.sizes) - 1)


def _png(file: BinaryIO) -> dict[str, Any] | None:
    sizes = png.passes(file)
    expected = sum(rows * row for rows, row in sizes)
    available = png.inflated(file, expected)
    if available < sizes[0][1]:
        raise CorruptFileError(NOTHING)
    if available < expected:
        return (
            _part(ROWS, available // sizes[0][1], sizes[0][0])
            if len(sizes) == 1
            else _missing(PIXELS, available, expected)
        )
    total, complete_count = png.frame_counts(file)
    return _part(FRAMES, complete_count, total) if total > 1 else None


def _gif(file: BinaryIO) -> dict[str, Any] | None:
    sizes, complete = gif.frame_sizes(file)
    if not sizes or sizes[0] < gif.MIN_DATA:
        raise CorruptFileError(NOTHING)
    _decode_first(file, "GIF")
    if complete:
        return None
    return _missing(FRAMES, len(sizes) - 1) if len(sizes) > 1 else _missing(ROWS)


def _decode_first(file: BinaryIO, format: str) -> None:
    """Decode what is present of the first frame. Raises if that is nothing."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(file, formats=[format]) as image:
            image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _webp(file: BinaryIO) -> dict[str, Any] | None:
    complete_count, first = webp.frames_in(file)
    if complete_count:
        return _missing(FRAMES, complete_count)
    return _part(ROWS, *_webp_rows(first))


def _webp_rows(data: bytes) -> tuple[int, int]:
    """Number of decodable rows of a still image, and of all its rows (webp/decode.h)."""
    decoder = library("libsharpyuv", "libwebp")
    decoder.WebPINewRGB.restype = ctypes.c_void_p
    decoder.WebPIDecGetRGB.restype = ctypes.c_void_p
    state = ctypes.c_void_p(decoder.WebPINewRGB(1, None, ctypes.c_size_t(0), 0))
    try:
        decoder.WebPIAppend(state, data, ctypes.c_size_t(len(data)))
        last, width, height = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        decoder.WebPIDecGetRGB(state, ctypes.byref(last), ctypes.byref(width), ctypes.byref(height), None)
        return last.value, height.value
    finally:
        decoder.WebPIDelete(state)


def _tiff(file: BinaryIO) -> dict[str, Any] | None:
    tiled = Tiff(file)
    pages, complete = tiff.readable_pages(tiled)
    sections = tiff.sections(tiled, pages[0]) or []
    complete_count = sum(part.whole for part in sections)
    if sections and complete_count == len(sections):
        count = sum(all(part.whole for part in tiff.sections(tiled, page) or ()) for page in pages)
        return _part(PAGES, count, len(pages)) if complete else _missing(PAGES, count)
    if tiled.number(pages[0], tiff.COMPRESSION) == tiff.NONE:  # decoders fill in missing pixels of these
        expected = min(sum(part.size for part in sections), tiff.raw_size(tiled, pages[0]))
        return _part(PIXELS, sum(part.available for part in sections), expected)
    rows = height = 0
    with suppress(pyvips.Error):
        image = pyvips.Image.tiffload(file.name, access="sequential", fail_on="truncated")
        rows, height = _rows(image), image.height
    # Without the last color plane no row is complete, but the image can be shown.
    return _part(ROWS, rows, height) if rows else _part(TILES, complete_count, len(sections))


def _photoshop(file: BinaryIO) -> dict[str, Any] | None:
    header = psd.read_header(file)
    available, expected = psd.pixel_sizes(file, header)
    if not available and psd.has_layers(file):
        return _missing(LAYERS_ONLY)
    return _part(PIXELS, available, expected)


def _heif(file: BinaryIO, plugin: str) -> dict[str, Any] | None:
    try:
        available, total = heif.parts(file)
    except Exception:  # noqa: BLE001, then only the decoder decides
        available = total = 0
    decoded, missing_decoder = False, None
    try:
        if plugin == "HEIF":
            heif.register_decoder()
        with Image.open(file, formats=[plugin]) as image:
            image.load()
        decoded = True
    except LibraryMissingError as error:
        missing_decoder = error
    except Exception:  # noqa: BLE001, S110, libraries raise any error for damaged files
        pass
    if 0 < available < total:
        return _missing(FRAMES if heif.is_sequence(file) else TILES, available, total)
    if available == total and (decoded or available):
        return _missing(END) if heif.is_cut_off(file) else None
    if missing_decoder:
        raise missing_decoder
    if not decoded or total > 1:
        raise CorruptFileError(NOTHING)
    return _missing(ROWS)


def _jpegxl(file: BinaryIO) -> dict[str, Any] | None:
    from . import jxl_frames

    file.seek(0)
    data = file.read()
    found = jxl_frames.count(data)
    if found.number > 1 or (found.number and not found.complete):
        return _missing(FRAMES, found.number - found.complete)
    if found.complete and jxl_frames.ends_whole(data, found.number):
        return _missing(END)
    if not jxl_frames.is_partly_decodable(data):
        raise CorruptFileError(NOTHING)
    return _missing(PIXELS)


def _movie(file: BinaryIO) -> dict[str, Any] | None:
    if movie.problem(file) == EMPTY:
        raise CorruptFileError(NOTHING)
    available, total = movie.samples_in(file)
    return _part(SAMPLES, available, total) if available < total else _missing(END)


CHECKS: dict[str, Callable[[BinaryIO], dict[str, Any] | None]] = {
    "jpg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "tif": _tiff,
    "psd": _photoshop,
    "heic": lambda file: _heif(file, "HEIF"),
    "avif": lambda file: _heif(file, "AVIF"),
    "jxl": _jpegxl,
    "mp4": _movie,
    "mov": _movie,
}
