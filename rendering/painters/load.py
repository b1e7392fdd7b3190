"""Open sources: one function per kind. Only the given file is read, and only by the loader of its format."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyvips

from sourceimages.probing.readers import formats, jpeg

from . import bitmaps, orientation, pdf, placeholder, raw, svg, to_srgb
from .channels import is_opaque, resample, split
from .problems import RenderError, TooLarge, UnreadableSource, check_pixels, describe
from .sizes import Size
from .source import Source
from .state import Limits, scaling

# libvips detects formats itself, so only loaders of these formats are enabled.
pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in ("Jpeg", "JpegBuffer", "Png", "Webp", "Nsgif", "Tiff", "Heif", "SvgBuffer", "Raw"):
    pyvips.operation_block_set(f"VipsForeignLoad{_loader}", False)

MAX_SOURCE_PIXELS = 250_000_000  # decoded line by line; other decoders have the limit of results
SHRINK_FACTORS = (8, 4, 2)  # of the JPEG decoder
MIN_REMAINING = 1.5  # times the target: what decoders leave, so that quality does not suffer
LOADERS = {"jpg": "jpegload", "png": "pngload", "webp": "webpload", "gif": "gifload", "tif": "tiffload"}
ANIMATED = {"gif", "webp"}
FAIL_ON = "truncated"  # half an image must not be cached for a year


def open_source(source: Mapping[str, Any], options: Mapping[str, Any], limits: Limits, *, animated: bool) -> Source:
    """The source of a recipe. Raises UnreadableSource and TooLarge. `animated` opens all frames, not only the first.

    The source itself can say `"animated": false`, `"upright": false` for the orientation as stored, and
    `"partial": true` to show what can be decoded of a damaged file.
    """
    path, format = str(source.get("path", "")), str(source["format"])
    upright, fail_on = source.get("upright", True), "none" if source.get("partial") else FAIL_ON
    try:
        if format == "placeholder":
            return placeholder.open_source(str(source.get("label", "")), str(source.get("message", "")))
        if format == "eps":
            return placeholder.open_source("EPS", "No preview of this format")
        if format == "svg":
            return svg.open_source(path, source.get("changes") or ())
        if format == "pdf":
            page, dpi = int(options.get("pdf.page") or 1), int(options.get("pdf.dpi") or 200)
            return pdf.open_source(path, page=page, dpi=dpi, max_pixels=limits.pixels)
        if format in LOADERS:
            animated = animated and format in ANIMATED and source.get("animated", True)
            return _by_libvips(path, format, limits, animated=animated, upright=upright, fail_on=fail_on)
        if format in bitmaps.READERS:
            return bitmaps.open_source(path, format, limits.pixels)
        if format in raw.FORMATS:
            return _preview(path, upright=upright)
    except RenderError:
        raise
    except Exception as error:  # libraries raise any error for hostile files
        raise UnreadableSource(f"The source can't be decoded: {describe(error)}. Upload it again.") from error
    raise UnreadableSource(f"The format {format} can't be decoded here.")


def _by_libvips(path: str, format: str, limits: Limits, *, animated: bool, upright: bool, fail_on: str) -> Source:
    loader = LOADERS[format]

    def load(**options: Any) -> pyvips.Image:
        return pyvips.Operation.call(loader, path, access="sequential", fail_on=fail_on, **options)

    if format == "jpg" and fail_on == FAIL_ON and formats.problem(path, format):
        load = _with_end_marker(path)
    header = load()
    pages = int(header.get("n-pages")) if animated and header.get_typeof("n-pages") else 1
    check_pixels(header.width, header.height, MAX_SOURCE_PIXELS, hint="Upload a smaller image.")
    if pages > 1:
        return _animation(load, header, pages, limits)
    source = still(load, header, reduced=REDUCED.get(format, _unreduced), upright=upright)
    if format not in bitmaps.SECOND_DECODER:
        return source
    return _with_second_decoder(source, path, format, limits, back=1 if upright else orientation.read(header))


def _with_end_marker(path: str) -> Callable[..., pyvips.Image]:
    """Load a JPEG that may only lack its end marker: the decoder then reports nothing but missing pixels."""
    with open(path, "rb") as file:
        data = file.read() + jpeg.END

    def load(**options: Any) -> pyvips.Image:
        return pyvips.Image.jpegload_buffer(data, access="sequential", fail_on="warning", **options)

    return load


def _with_second_decoder(source: Source, path: str, format: str, limits: Limits, *, back: int) -> Source:
    """Decode with Pillow what libvips can't, such as old kinds of TIFF. Turn it back from this orientation."""

    def decode(target: Size | None) -> list[pyvips.Image]:
        try:
            return [frame.copy_memory() for frame in source.decode(target)]
        except pyvips.Error:
            aim = orientation.upright(target, back) if target else None
            frames = bitmaps.open_source(path, format, limits.pixels).decode(aim)
            return [orientation.apply(frame, orientation.INVERSE.get(back, back)) for frame in frames]

    return replace(source, decode=decode)


def _animation(load: Callable[..., pyvips.Image], header: pyvips.Image, pages: int, limits: Limits) -> Source:
    if pages > limits.frames:
        raise TooLarge(f"The source has {pages} frames; the limit is {limits.frames}. Ask for jpg or png instead.")
    size = Size(header.width, header.height)
    check_pixels(*size, limits.pixels, frames=pages, hint="Ask for jpg or png, which show one frame.")

    def decode(target: Size | None) -> list[pyvips.Image]:
        strip = load(n=-1).copy_memory()
        frames = [strip.crop(0, page * size.height, *size) for page in range(strip.height // size.height)]
        opaque = is_opaque(strip)
        if target:
            frames = [resample(frame, *target, opaque=opaque) for frame in frames]
        if opaque:
            frames = [split(frame)[0] for frame in frames]
        return [to_srgb.convert(frame) for frame in frames]

    delays = tuple(header.get("delay")) if header.get_typeof("delay") else ()
    loop = int(header.get("loop")) if header.get_typeof("loop") else 0
    return Source(size, decode, delays=delays, loop=loop, frames=pages)


Reduced = Callable[[Callable[..., pyvips.Image], pyvips.Image, Size], pyvips.Image]


def _unreduced(load: Callable[..., pyvips.Image], header: pyvips.Image, target: Size) -> pyvips.Image:
    return load()


def _reduced_jpeg(load: Callable[..., pyvips.Image], header: pyvips.Image, target: Size) -> pyvips.Image:
    """Decoded at 1/2, 1/4 or 1/8 of its size, which takes a fraction of the time."""
    spare = min(header.width / target.width, header.height / target.height) / MIN_REMAINING
    return load(shrink=next((factor for factor in SHRINK_FACTORS if factor <= spare), 1))


def _reduced_webp(load: Callable[..., pyvips.Image], header: pyvips.Image, target: Size) -> pyvips.Image:
    scale = MIN_REMAINING * max(target.width / header.width, target.height / header.height)
    return load(scale=scale) if scale < 1 else load()


REDUCED: dict[str, Reduced] = {"jpg": _reduced_jpeg, "webp": _reduced_webp}


def still(
    load: Callable[..., pyvips.Image], header: pyvips.Image, *, reduced: Reduced, turned: int = 1, upright: bool = True
) -> Source:
    """One image. It is resampled as stored and turned afterwards, because turning requires it in memory."""
    turn = 1 if not upright else orientation.read(header) if turned == 1 else turned
    stored = Size(header.width, header.height)

    def decode(target: Size | None) -> list[pyvips.Image]:
        if target:
            aim = orientation.upright(target, turn)
            image = resample(reduced(load, header, aim), *aim)
        else:
            image = load()
        image = to_srgb.convert(image)
        if turn > 2:
            image = image.copy_memory()
        return [orientation.apply(image, turn)]

    return Source(orientation.upright(stored, turn), decode, transform=orientation.transform(stored, turn))


def _preview(path: str, *, upright: bool) -> Source:
    """The embedded preview of a camera raw. Areas refer to the photograph, which can be larger."""
    preview = raw.find_preview(path)

    def load(**options: Any) -> pyvips.Image:
        if preview.data:
            return pyvips.Image.jpegload_buffer(preview.data, access="sequential", fail_on=FAIL_ON, **options)
        return pyvips.Image.tiffload(path, access="sequential", fail_on=FAIL_ON)

    reduced = _reduced_jpeg if preview.data else _unreduced
    header = load()
    check_pixels(header.width, header.height, MAX_SOURCE_PIXELS, hint="Upload a smaller image.")
    source = still(load, header, reduced=reduced, turned=preview.orientation, upright=upright)
    shrunk = scaling(header.width / preview.photograph.width, header.height / preview.photograph.height)
    return Source(source.size, source.decode, transform=shrunk.then(source.transform))
