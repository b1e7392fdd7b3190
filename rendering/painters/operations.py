"""All operations by name. Each takes the state, its options with defaults, and the dpr that multiplies pixel sizes."""

from collections.abc import Callable, Mapping
from typing import Any

from . import geometry, pixels
from .composition import composition
from .problems import FeatureUnavailable
from .state import State
from .text import text

Operation = Callable[[State, Mapping[str, Any], float], State]


def _unchanged(state: State, options: Mapping[str, Any], dpr: float) -> State:
    return state


def _unavailable(name: str) -> Operation:
    def refuse(state: State, options: Mapping[str, Any], dpr: float) -> State:
        raise FeatureUnavailable(f"The operation {name} is not available on this server.")

    return refuse


OPERATIONS: dict[str, Operation] = {
    "addframes": pixels.addframes,
    "alpha": pixels.alpha,
    "autorotate": geometry.autorotate,
    "blur": pixels.blur,
    "circlemask": pixels.circlemask,
    "composition": composition,
    "crop": geometry.crop,
    "dropshadow": pixels.dropshadow,
    "face": _unavailable("face"),
    "glitch": pixels.glitch,
    "grayscale": pixels.grayscale,
    "modulate": pixels.modulate,
    "multiply": pixels.multiply,
    "noop": _unchanged,
    "primitive": _unavailable("primitive"),
    "resize": geometry.resize,
    "rotate": geometry.rotate,
    "sepia": pixels.sepia,
    "sharpen": pixels.sharpen,
    "svg2bitmap": _unchanged,  # sources are rasterized when they are opened
    "svgdynamic": _unchanged,  # applied before the source is rasterized
    "text": text,
    "trim": geometry.trim,
}
