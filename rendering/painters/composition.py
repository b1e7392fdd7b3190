"""Combine the image with another one, or with a box of one color."""

from collections.abc import Mapping
from typing import Any

import pyvips

from .channels import filled, hex_color, resample, rgb, with_alpha
from .geometry import is_position, offset, rotated
from .pixels import faded
from .sizes import Size, resized, rounded
from .state import State, moving

Options = Mapping[str, Any]
TRANSPARENT = [0, 0, 0, 0]


def composition(state: State, options: Options, dpr: float) -> State:
    """`mode` says where the initial image is. The result is never smaller than the initial image."""
    other = _other(state, options, dpr)
    canvas = Size(max(state.size.width, other.width), max(state.size.height, other.height))
    state.check(*canvas)
    anchor = str(options.get("anchor") or "center_center")
    if not is_position(anchor):
        anchor = "center_center"
    own, others = _corners(anchor, state.size, Size(other.width, other.height), canvas, dpr)
    layer = filled(*canvas, TRANSPARENT).insert(with_alpha(rgb(other)), *others).copy_memory()
    in_front = options.get("mode") != "background"

    def combined(frame: pyvips.Image) -> pyvips.Image:
        image = with_alpha(rgb(frame)).embed(*own, *canvas)
        below, above = (layer, image) if in_front else (image, layer)
        return below.composite2(above, "over").cast("uchar")

    return state.map(combined, moving(*own))


def _corners(anchor: str, own: Size, other: Size, canvas: Size, dpr: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """The top left corners of the initial image, which is never cut off, and of the other one.

    On each axis, the anchor places the one that is smaller than the canvas; the other one if both fill it.
    """
    room = canvas.width - own.width, canvas.height - own.height
    placed, others = offset(anchor, own, canvas, dpr), offset(anchor, other, canvas, dpr)
    return (
        (min(placed[0], room[0]), min(placed[1], room[1])),
        (0 if room[0] else others[0], 0 if room[1] else others[1]),
    )


def _other(state: State, options: Options, dpr: float) -> pyvips.Image:
    """The other image or box, in its size and with its opacity."""
    opacity = options.get("secondary_opacity", 100) / 100
    width, height = options.get("width"), options.get("height")
    secondary: State | None = options.get("secondary")
    if secondary is None:
        size = Size(
            rounded(width * dpr) if width else state.size.width, rounded(height * dpr) if height else state.size.height
        )
        state.check(*size)
        image = filled(*size, [*hex_color(options.get("secondary_color") or "000000"), 255])
    else:
        size = _secondary_size(state, secondary, options, dpr)
        state.check(*size)
        image = resample(secondary.first, *size)
    if angle := float(options.get("angle") or 0):
        image = rotated(State((image,), limits=state.limits), angle).first
    return faded(image, opacity) if opacity < 1 else image


def _secondary_size(state: State, secondary: State, options: Options, dpr: float) -> Size:
    mode = str(options.get("resize_mode") or "box")
    if options.get("resize_to_primary"):
        return resized(secondary.size, *state.size, mode=mode).size
    width, height = options.get("width"), options.get("height")
    if width or height:
        return resized(secondary.size, width, height, mode=mode, dpr=dpr).size
    return secondary.size
