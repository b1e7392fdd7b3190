"""Operations that change the size or the position of pixels: resize, crop, rotate, autorotate, trim."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyvips

from . import pixels
from .channels import filled, hex_color, resample, with_alpha
from .sizes import Resizing, Size, largest_of_ratio, resizing, rounded, scaled
from .state import Box, State, moving, rotation, scaling

Options = Mapping[str, Any]
MIN_ENTROPY = 5  # bits; drawings with less are not sharpened
POSITIONS = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}


def resize(state: State, options: Options, dpr: float) -> State:
    before = state.size
    target = resizing(before, options, dpr)
    state.check(*target.size)
    change = scaling(target.size.width / before.width, target.size.height / before.height)
    resized_state = state.map(lambda frame: resample(frame, *target.size), change)
    return after_resize(resized_state, before, target, options)


def after_resize(state: State, before: Size, target: Resizing, options: Options) -> State:
    state = replace(state, shortfall=target.shortfall)
    if options.get("sharpen") and target.size.width * target.size.height < before.width * before.height:
        state = state.in_memory()
        if pixels.entropy(state.first) > MIN_ENTROPY:
            return pixels.sharpen(state, {}, 1.0)
    return state


def crop(state: State, options: Options, dpr: float) -> State:
    area = _crop_area(state, options, dpr)
    if area is None:
        state = state.in_memory()
        size = _crop_size(state, options, dpr)
        area = _smart_area(state.first, size)
    x, y, width, height = (round(value) for value in area)
    return state.map(lambda frame: frame.crop(x, y, width, height), moving(-x, -y))


def _crop_area(state: State, options: Options, dpr: float) -> Box | None:
    """The area to keep, within the image; None if libvips has to find it."""
    stored = _stored_area(state, options)
    size = _crop_size(state, options, dpr)
    if stored and options.get("mode") == "box":
        return _clamped(stored, state.size)
    if stored and options.get("mode") == "area":
        return _around(stored, options, state.size)
    if stored:
        x, y = stored.center
        return _within(x - size.width / 2, y - size.height / 2, size, state.size)
    anchor = str(options.get("anchor") or "auto")
    if not is_position(anchor) and anchor != "smart":
        anchor = str(options.get("fallback") or "center_center")
    if anchor == "smart":
        return None
    if not is_position(anchor):
        anchor = "center_center"
    x, y = offset(anchor, size, state.size, dpr * state.shortfall)
    return _within(x, y, size, state.size)


def _crop_size(state: State, options: Options, dpr: float) -> Size:
    """The size of a crop by an anchor. After a resize that was not allowed to upscale, it shrinks likewise."""
    width, height = options["width"], options["height"]
    if options.get("mode", "absolute") == "absolute":
        wanted = scaled(Size(width, height), dpr * state.shortfall)
        size = Size(min(wanted.width, state.size.width), min(wanted.height, state.size.height))
    else:
        size = largest_of_ratio(state.size, width, height)
    scale = options.get("scale", 100)
    return size if scale == 100 else scaled(size, scale / 100)


def _stored_area(state: State, options: Options) -> Box | None:
    """The area of the metadata that the crop refers to, in present coordinates and moved by movearea."""
    anchor, name = options.get("anchor") or "auto", options.get("area")
    areas = state.areas
    if name:
        found = areas.named.get(name)
    elif anchor == "croparea":
        found = areas.crop
    elif anchor == "auto" and options.get("mode") in ("box", "area"):
        found = areas.subject or areas.crop
    else:
        found = areas.subject if anchor in ("auto", "subjectarea") else None
    if found is None:
        return None
    x, y, width, height = state.area(found)
    dx, dy = float(options.get("movearea_x") or 0), float(options.get("movearea_y") or 0)
    return Box(x + width * dx / 100, y + height * dy / 100, width, height)


def _around(area: Box, options: Options, bounds: Size) -> Box:
    """The smallest area of the ratio width:height around this one, as far as the image allows."""
    ratio = options["width"] / options["height"]
    size = Size(rounded(max(area.width, area.height * ratio)), rounded(max(area.height, area.width / ratio)))
    if size.width > bounds.width or size.height > bounds.height:
        size = largest_of_ratio(bounds, options["width"], options["height"])
    x, y = area.center
    return _within(x - size.width / 2, y - size.height / 2, size, bounds)


def _within(x: float, y: float, size: Size, bounds: Size) -> Box:
    """Moved into the image."""
    return Box(
        min(max(0, round(x)), bounds.width - size.width), min(max(0, round(y)), bounds.height - size.height), *size
    )


def _clamped(area: Box, bounds: Size) -> Box:
    """The part of the area within the image, at least one pixel."""
    left, top = min(max(0, round(area.x)), bounds.width - 1), min(max(0, round(area.y)), bounds.height - 1)
    right = min(max(left + 1, round(area.x + area.width)), bounds.width)
    bottom = min(max(top + 1, round(area.y + area.height)), bounds.height)
    return Box(left, top, right - left, bottom - top)


def _smart_area(image: pyvips.Image, size: Size) -> Box:
    cropped = image.smartcrop(*size, interesting="attention")
    return Box(-cropped.xoffset, -cropped.yoffset, *size)


def is_position(anchor: str) -> bool:
    x, _, y = anchor.replace("-", "_").partition("_")
    return (x in POSITIONS or x.isdecimal()) and (y in POSITIONS or y.isdecimal())


def offset(anchor: str, inner: Size, outer: Size, dpr: float) -> tuple[int, int]:
    """The top left corner of `inner` within `outer` at a position such as left_top or 120_80."""
    x, _, y = anchor.replace("-", "_").partition("_")
    return _offset(x, outer.width - inner.width, dpr), _offset(y, outer.height - inner.height, dpr)


def _offset(position: str, free: int, dpr: float) -> int:
    return int(free * POSITIONS[position]) if position in POSITIONS else round(int(position) * dpr)


def rotate(state: State, options: Options, dpr: float) -> State:
    return rotated(
        state,
        float(options["angle"]),
        str(options.get("background_color") or "FFFFFF"),
        float(options.get("background_opacity") or 0),
    )


def rotated(state: State, angle: float, color: str = "FFFFFF", opacity: float = 0) -> State:
    """Rotated clockwise; new corners get the color with this opacity in percent."""
    angle %= 360
    if not angle:
        return state
    state = state.in_memory()
    before = state.size
    if angle % 90 == 0:
        turned = state.map(lambda frame: getattr(frame, f"rot{int(angle)}")())
    else:
        turned = state.map(lambda frame: _turned(frame, angle))
        turned.check(*turned.size)
    turned = replace(turned, transform=state.transform.then(rotation(angle, before, turned.size)))
    if opacity and angle % 90:
        back = filled(*turned.size, [*hex_color(color), round(opacity * 2.55)])
        turned = turned.map(lambda frame: back.composite2(frame, "over").cast("uchar"))
    return turned


def _turned(image: pyvips.Image, angle: float) -> pyvips.Image:
    """Turned by any angle. Colors are weighted by alpha in memory: affine would do it again for every tile."""
    # Integers can't hold the overshoot of bicubic, which would change colors where alpha varies.
    interpolate = pyvips.Interpolate.new("bilinear" if image.hasalpha() else "bicubic")
    image = with_alpha(image)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    weighted = image.premultiply().cast("uchar").copy_memory()
    turned = weighted.affine(
        [cos, -sin, sin, cos],
        interpolate=interpolate,
        background=[0] * image.bands,
        premultiplied=True,
    )
    return turned.unpremultiply().cast("uchar").copy(interpretation=image.interpretation)


def autorotate(state: State, options: Options, dpr: float) -> State:
    """The image is upright already; with a box, it is turned to the orientation of the box."""
    return rotated(state, turn_to_box(state.size, options))


def turn_to_box(size: Size, options: Options) -> int:
    """The angle of autorotate: 0, 90 or 270."""
    width, height = options.get("width"), options.get("height")
    if not width or not height or width == height or size.width == size.height:
        return 0
    if (width > height) == (size.width > size.height):
        return 0
    return 270 if options.get("rotation_direction") == "counterclockwise" else 90


def trim(state: State, options: Options, dpr: float) -> State:
    """Without borders of the color of the top left corner, or without transparent ones."""
    state = state.in_memory()
    image = state.first
    threshold = float(options.get("fuzzy") or 0) * 2.55
    if image.hasalpha() and image(0, 0)[-1] < 255:
        image = image[image.bands - 1]
        corner = [0.0]
    else:
        image = image.flatten() if image.hasalpha() else image
        corner = image(0, 0)
    left, top, width, height = image.find_trim(threshold=threshold, background=corner)
    if not width or not height:  # all of one color
        return state
    return state.map(lambda frame: frame.crop(left, top, width, height), moving(-left, -top))
