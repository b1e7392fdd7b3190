"""Operations that change the values of pixels."""

import functools
import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyvips

from .channels import filled, flattened, hex_color, on_colors, premultiplied, rgb, split, with_alpha
from .problems import FeatureUnavailable, TooLarge
from .state import State, moving

Options = Mapping[str, Any]
MAX_BLUR = 2_000_000_000  # pixels times sigma
MIN_AMPLITUDE = 0.02  # where the bell curve is cut off: at 2.8 sigmas
SMALL_SIGMA = 12.0  # much larger blurs are done on a reduced image; libvips takes very long for them, or never ends
SEPIA = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]
SHADOW_REACH = 3  # sigmas
GLITCH_BANDS = 12
WHITE = "FFFFFF"


def entropy(image: pyvips.Image) -> float:
    """The entropy of the brightness, 0 to 8 bits."""
    return float(image.colourspace("b-w")[0].hist_find().hist_entropy())


def blur(state: State, options: Options, dpr: float) -> State:
    sigma = float(options.get("sigma", 4)) * dpr
    check_blur(state, sigma, *state.size)
    return state.map(lambda frame: premultiplied(frame, lambda image: blurred(image, sigma)))


def check_blur(state: State, sigma: float, width: float, height: float) -> None:
    """Raises TooLarge if the blur takes too much work."""
    if sigma * width * height * len(state.frames) > MAX_BLUR:
        megapixels = width * height * len(state.frames) / 1e6
        raise TooLarge(
            f"A blur with sigma {sigma:g} of {megapixels:.4g} megapixels exceeds the limit of "
            f"{MAX_BLUR / 1e6:g} for sigma × megapixels. Resize first, or use a smaller sigma."
        )


def blurred(image: pyvips.Image, sigma: float) -> pyvips.Image:
    if sigma < 0.2:  # no visible effect, and less than libvips accepts
        return image
    shrink = sigma / SMALL_SIGMA
    if shrink <= 2:
        return image.gaussblur(sigma, min_ampl=MIN_AMPLITUDE)
    across, down = max(1 / shrink, 1 / image.width), max(1 / shrink, 1 / image.height)
    small = image.resize(across, vscale=down, kernel="linear").copy_memory()
    small = small.gaussblur(SMALL_SIGMA, min_ampl=MIN_AMPLITUDE)
    large = small.resize(image.width / small.width, vscale=image.height / small.height, kernel="cubic")
    return large.embed(0, 0, image.width, image.height, extend="copy")


def grayscale(state: State, options: Options, dpr: float) -> State:
    levels = int(options.get("levels") or 256)
    gray = state.map(lambda frame: on_colors(frame, lambda colors: colors.colourspace("b-w")))
    if levels >= 256:
        return gray
    index = pyvips.Image.identity()
    step = 255 / (levels - 1)
    table = (((index * levels / 256).floor()) * step).rint().cast("uchar")
    return gray.map(lambda frame: on_colors(frame, lambda colors: colors.maplut(table)))


def sepia(state: State, options: Options, dpr: float) -> State:
    matrix = pyvips.Image.new_from_array(SEPIA)
    return state.map(lambda frame: on_colors(rgb(frame), lambda colors: colors.recomb(matrix).cast("uchar")))


def multiply(state: State, options: Options, dpr: float) -> State:
    if color := options.get("factor_color"):
        factors = [value / 255 for value in hex_color(color)]
    else:
        factors = [float(options.get("factor", 0.96))] * 3
    return state.map(lambda frame: on_colors(rgb(frame), lambda colors: colors.linear(factors, [0] * 3, uchar=True)))


def modulate(state: State, options: Options, dpr: float) -> State:
    brightness, saturation = options.get("brightness", 100) / 100, options.get("saturation", 100) / 100
    hue = float(options.get("hue") or 0)

    def change(colors: pyvips.Image) -> pyvips.Image:
        modulated = colors.colourspace("lch").linear([brightness, saturation, 1], [0, 0, hue])
        return modulated.copy(interpretation="lch").colourspace("srgb")

    return state.map(lambda frame: on_colors(rgb(frame), change))


def sharpen(state: State, options: Options, dpr: float) -> State:
    settings = {
        name: float(options.get(name, default))
        for name, default in {"sigma": 0.7, "m1": 0.4, "m2": 0.8, "x1": 2, "y2": 10, "y3": 20}.items()
    }
    settings["sigma"] = min(max(settings["sigma"], 0.01), 10)
    return state.map(lambda frame: on_colors(frame, lambda colors: colors.sharpen(**settings)))


def alpha(state: State, options: Options, dpr: float) -> State:
    mode = options.get("mode", "mask")
    if mode == "remove":
        return state.map(lambda frame: flattened(frame, WHITE))
    if mode == "apply":
        opacity = options.get("opacity", 50) / 100
        return state.map(lambda frame: faded(frame, opacity))
    masks = state.map(lambda frame: split(with_alpha(frame))[1])
    if mode == "extract":
        return masks.map(lambda mask: mask.new_from_image(0).cast("uchar").copy(interpretation="b-w").bandjoin(mask))
    return masks.map(lambda mask: mask.copy(interpretation="b-w"))


def faded(image: pyvips.Image, opacity: float) -> pyvips.Image:
    """With alpha multiplied by the opacity, from 0 to 1."""
    image = with_alpha(image)
    return image.linear([1] * (image.bands - 1) + [opacity], [0] * image.bands, uchar=True)


def dropshadow(state: State, options: Options, dpr: float) -> State:
    """The canvas grows as far as the shadow reaches beyond the image."""
    sigma = float(options.get("sigma", 0.5)) * dpr
    dx, dy = (round(float(options.get(name) or 0) * dpr) for name in ("horizontal", "vertical"))
    reach = math.ceil(SHADOW_REACH * sigma)
    left, right, top, bottom = max(0, reach - dx), max(0, reach + dx), max(0, reach - dy), max(0, reach + dy)
    width, height = state.size.width + left + right, state.size.height + top + bottom
    state.check(width, height)
    check_blur(state, sigma, width, height)
    opacity, color = options.get("opacity", 100) / 100, hex_color(options.get("color") or "000000")
    ground = filled(width, height, color)

    def shadowed(frame: pyvips.Image) -> pyvips.Image:
        frame = with_alpha(rgb(frame))
        shape = frame[3].embed(left + dx, top + dy, width, height).copy_memory()
        shadow = ground.bandjoin(blurred(shape, sigma).linear(opacity, 0, uchar=True))
        shadow = shadow.copy(interpretation="srgb")
        return shadow.composite2(frame.embed(left, top, width, height), "over").cast("uchar")

    return state.in_memory().map(shadowed, moving(left, top))


def circlemask(state: State, options: Options, dpr: float) -> State:
    """Transparent outside the largest centered circle, or outside a rectangle with rounded corners."""
    width, height = state.size
    shorter = min(width, height)
    radius = _radius(options.get("radius"), shorter, dpr)
    if radius == 0:
        return state
    if radius is None:
        shape = f'<circle cx="{width / 2}" cy="{height / 2}" r="{shorter / 2}"/>'
    else:
        shape = f'<rect width="{width}" height="{height}" rx="{radius}" ry="{radius}"/>'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{shape}</svg>'
    mask = pyvips.Image.svgload_buffer(drawing.encode())[3].copy_memory()

    def masked(frame: pyvips.Image) -> pyvips.Image:
        colors, own = split(with_alpha(frame))
        return colors.bandjoin((own * mask / 255).rint().cast("uchar"))

    return state.map(masked)


def _radius(given: object, shorter: int, dpr: float) -> float | None:
    """In pixels: from pixels, or from a percentage of the shorter side such as 10p. None for a circle."""
    if given in (None, ""):
        return None
    text = str(given).strip()
    relative = text.endswith(("p", "%"))
    value = float(text.rstrip("p%"))
    return min(shorter / 2, max(0.0, value * shorter / 100 if relative else value * dpr))


def glitch(state: State, options: Options, dpr: float) -> State:
    """Bands of rows shifted sideways, with red and blue moved apart; the same text gives the same result."""
    amount = int(options.get("amount", 4))
    if not amount:
        return state
    state = state.in_memory().map(rgb)
    width, height = state.size
    source = random.Random(f"{options.get('random') or ''}/{amount}")  # noqa: S311 (not for security)
    cuts = sorted({0, height, *(source.randrange(height) for _ in range(GLITCH_BANDS))})
    reach = max(1, width * amount // 50)
    bands = [(top, bottom, source.randint(-reach, reach)) for top, bottom in itertools.pairwise(cuts)]
    apart = max(1, reach // 4)

    def shifted(frame: pyvips.Image) -> pyvips.Image:
        rows = [frame.crop(0, top, width, bottom - top).wrap(x=shift % width, y=0) for top, bottom, shift in bands]
        torn = functools.reduce(lambda above, below: above.join(below, "vertical"), rows).copy_memory()
        red, blue = torn[0].wrap(x=apart % width, y=0), torn[2].wrap(x=-apart % width, y=0)
        others = [torn[band] for band in range(3, torn.bands)]
        return red.bandjoin([torn[1], blue, *others]).copy(interpretation="srgb")

    return state.map(shifted)


def addframes(state: State, options: Options, dpr: float) -> State:
    """The delay of all frames, in hundredths of a second."""
    if options.get("frames"):
        raise FeatureUnavailable("The option frames of addframes is not available on this server. Leave it out.")
    delay = round(float(options.get("delay", 10)) * 10)
    return replace(state, delays=(delay,) * len(state.frames))
