"""Write results: formats, qualities and transparency. Metadata is left out."""

import base64
import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import pyvips
from PIL import Image

from . import blurhash, jpeg_xl, pixels
from .channels import flattened
from .problems import TooLarge, check_pixels
from .state import State

Options = Mapping[str, Any]
MAX_PIXELS = {  # of encoders that hold the whole image, some of them several times
    "webp": 60_000_000,
    "gif": 50_000_000,
    "avif": 40_000_000,
    "jxl": 25_000_000,
    "jp2": 20_000_000,
}
MAX_SIDES = {"jpg": 65_500, "webp": 16_383, "gif": 65_535, "avif": 16_384}
FAST_AVIF_PIXELS = 4_000_000
DEFAULT_DELAY = 100  # milliseconds
PNG_COMPRESSION_LEVEL = 6  # level 7 takes 1.8 times as long for files that are 2 % smaller


class Output:
    """The memory file for the result, under an inherited descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def clear(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def target(self) -> pyvips.Target:
        return pyvips.Target.new_to_descriptor(self.descriptor)

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size


def write(state: State, format: str, options: Options, output: Output) -> dict[str, Any]:
    """Write the result and return its properties."""
    width, height = state.size
    state.check(width, height)
    _check_size(state, format)
    state = _flattened(state, format, options)
    output.clear()
    if format in MAX_PIXELS:
        _encode_at_once(state.in_memory(), format, options, output)
    else:
        WRITERS[format](state, options, output)
    frames = len(state.frames) if format in ANIMATED else 1
    return {"width": width, "height": height, "frames": frames, "format": format, "bytes": output.size}


def fits(state: State, format: str) -> bool:
    """Whether the format can have a result of this size."""
    try:
        _check_size(state, format)
    except TooLarge:
        return False
    return True


def _check_size(state: State, format: str) -> None:
    width, height = state.size
    if (limit := MAX_SIDES.get(format)) and max(width, height) > limit:
        raise TooLarge(f"{width} × {height} is too large for {format}: the limit is {limit} pixels per side.")
    if pixels := MAX_PIXELS.get(format):
        check_pixels(width, height, pixels, frames=len(state.frames), hint="Ask for less, or for jpg.")


def _encode_at_once(state: State, format: str, options: Options, output: Output) -> None:
    """Encode decoded frames, so that an error can only be one of the encoder: it has too little memory."""
    try:
        WRITERS[format](state, options, output)
    except (pyvips.Error, OSError, MemoryError) as error:
        width, height = state.size
        raise TooLarge(
            f"{width} × {height} needs more memory as {format} than a render may use. Ask for less, or for jpg."
        ) from error


def _flattened(state: State, format: str, options: Options) -> State:
    """Without alpha if an option or the format requires it, or if all pixels are opaque."""
    if not state.first.hasalpha():
        return state
    color = options.get("transparency.color")
    on_white = str(options.get("jpg.transparency.color") or "FFFFFF")
    if not color and (format == "jpg" or options.get("jpg.transparency.convert")):
        color = on_white
    if color:
        return state.map(lambda frame: flattened(frame, color))
    return without_opaque_alpha(state)


def without_opaque_alpha(state: State) -> State:
    """Without alpha if all pixels are opaque."""
    if not state.first.hasalpha():
        return state
    state = state.in_memory()
    if all(frame[frame.bands - 1].min() == 255 for frame in state.frames):
        return state.map(lambda frame: frame[: frame.bands - 1])
    return state


def _jpg(state: State, options: Options, output: Output) -> None:
    interlaced = (options.get("interlacing.mode") or "plane") != "none"
    quality = int(options.get("jpg.quality") or 80)
    state.first.jpegsave_target(output.target(), Q=quality, optimize_coding=True, interlace=interlaced, keep="none")


def _png(state: State, options: Options, output: Output) -> None:
    compression = options.get("png.compression_level")
    level = PNG_COMPRESSION_LEVEL if compression is None else int(compression)
    state.first.pngsave_target(output.target(), compression=level, filter="all", keep="none")


def _webp(state: State, options: Options, output: Output) -> None:
    quality = int(options.get("webp.quality") or 80)
    image, page = _strip(state)
    image.webpsave_target(
        output.target(), Q=quality, lossless=quality == 100, effort=4, alpha_q=100, page_height=page, keep="none"
    )


def _gif(state: State, options: Options, output: Output) -> None:
    quality = int(options.get("gif.quality") or 70)
    image, page = _strip(state)
    moving = len(state.frames) > 1
    image.gifsave_target(
        output.target(),
        effort=3,
        interframe_maxerror=(100 - quality) / 10 if moving else 0,
        page_height=page,
        keep="none",
    )


def _svg(state: State, options: Options, output: Output) -> None:
    """A JPEG with the alpha channel as its mask: for photos, a fraction of the size of a PNG."""
    image = state.first
    colors, alpha = image[: image.bands - 1], image[image.bands - 1]
    quality = int(options.get("jpg.quality") or 80)
    jpeg = base64.b64encode(colors.jpegsave_buffer(Q=quality, optimize_coding=True, keep="none"))
    mask = base64.b64encode(alpha.pngsave_buffer(compression=PNG_COMPRESSION_LEVEL, filter="all", keep="none"))
    size = f'width="{image.width}" height="{image.height}"'
    output.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {image.width} {image.height}">'
        f'<mask id="alpha"><image {size} href="data:image/png;base64,{mask.decode()}"/></mask>'
        f'<image {size} mask="url(#alpha)" href="data:image/jpeg;base64,{jpeg.decode()}"/></svg>\n'.encode()
    )


def _avif(state: State, options: Options, output: Output) -> None:
    width, height = state.size
    state.first.heifsave_target(
        output.target(),
        compression="av1",
        Q=int(options.get("avif.quality") or 45),
        effort=0 if width * height > FAST_AVIF_PIXELS else 1,
        bitdepth=8,
        keep="none",
    )


def _jxl(state: State, options: Options, output: Output) -> None:
    output.write(jpeg_xl.encode(state.first, quality=int(options.get("jxl.quality") or 70), effort=4))


def _jp2(state: State, options: Options, output: Output) -> None:
    quality = int(options.get("jp2.quality") or 40)
    ratio = 2 + (100 - quality) / 2  # a compression ratio: 32 for 40
    layers = [1] if quality == 100 else [ratio]
    image = state.first
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[image.bands]
    made = Image.frombytes(mode, (image.width, image.height), bytes(image.write_to_memory()))
    file = io.BytesIO()
    made.save(file, "JPEG2000", quality_mode="rates", quality_layers=layers, irreversible=quality < 100)
    output.write(file.getvalue())


def _blur(state: State, options: Options, output: Output) -> None:
    output.write(blurhash.encode(state.first).encode())


def _entropy(state: State, options: Options, output: Output) -> None:
    output.write(f"{pixels.entropy(state.first):.4f}".encode())


def _strip(state: State) -> tuple[pyvips.Image, int]:
    """All frames below each other, and the height of one."""
    height = state.size.height
    if len(state.frames) == 1:
        return state.first, height
    image = pyvips.Image.arrayjoin(list(state.frames), across=1).copy()
    delays = list(state.delays) or [DEFAULT_DELAY]
    delays = (delays + [delays[-1]] * len(state.frames))[: len(state.frames)]
    image.set_type(pyvips.GValue.gint_type, "page-height", height)
    image.set_type(pyvips.GValue.array_int_type, "delay", delays)
    image.set_type(pyvips.GValue.gint_type, "loop", state.loop)
    return image, height


Writer = Callable[[State, Options, Output], None]
WRITERS: dict[str, Writer] = {
    "jpg": _jpg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "avif": _avif,
    "svg": _svg,  # instead of a JPEG, if pixels are transparent
    "jxl": _jxl,
    "jp2": _jp2,
    "blur": _blur,
    "entropy": _entropy,  # for expressions
}
ANIMATED = {"gif", "webp"}
