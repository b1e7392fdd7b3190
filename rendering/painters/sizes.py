"""Target sizes: pure arithmetic in pixels."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .problems import InvalidOperation


class Size(NamedTuple):
    width: int
    height: int

    def turned(self) -> "Size":
        return Size(self.height, self.width)


class Resizing(NamedTuple):
    size: Size
    shortfall: float  # the result divided by the requested size; below 1 if upscaling was not allowed


def rounded(value: float) -> int:
    """Round half up, at least 1."""
    return max(1, math.floor(value + 0.5))


def resized(
    source: Size,
    width: int | None,
    height: int | None,
    *,
    mode: str = "box",
    upscale: bool = True,
    upscale_dpr: bool = True,
    dpr: float = 1.0,
) -> Resizing:
    """The size of `source` after a resize to width and height in CSS pixels; one of them is required."""
    across = width / source.width if width else None
    down = height / source.height if height else None
    if across is None and down is None:
        raise InvalidOperation("A resize requires a width or a height.")
    given = [ratio for ratio in (across, down) if ratio is not None]
    fit = min(given) if mode == "box" else max(given)
    scale = _allowed(fit, dpr, upscale=upscale, upscale_dpr=upscale_dpr)
    shortfall = scale / (fit * dpr)
    if mode == "absolute" and width and height:
        factor = dpr * shortfall
        return Resizing(Size(rounded(width * factor), rounded(height * factor)), shortfall)
    return Resizing(Size(rounded(source.width * scale), rounded(source.height * scale)), shortfall)


def resizing(size: Size, options: Mapping[str, Any], dpr: float) -> Resizing:
    """The target of a resize operation with these options."""
    return resized(
        size,
        options.get("width"),
        options.get("height"),
        mode=options.get("mode", "box"),
        upscale=options.get("upscale", True),
        upscale_dpr=options.get("upscale_dpr", True),
        dpr=dpr,
    )


def _allowed(fit: float, dpr: float, *, upscale: bool, upscale_dpr: bool) -> float:
    """The scale that `upscale` allows for the size itself, and `upscale_dpr` for its multiple."""
    if not upscale:
        fit = min(fit, 1.0)
    if upscale_dpr:
        return fit * dpr
    return max(fit, min(fit * dpr, 1.0))


def largest_of_ratio(source: Size, width: float, height: float) -> Size:
    """The largest size of the aspect ratio width:height within the source."""
    scale = min(source.width / width, source.height / height)
    return Size(min(source.width, rounded(width * scale)), min(source.height, rounded(height * scale)))


def scaled(size: Size, factor: float) -> Size:
    return Size(rounded(size.width * factor), rounded(size.height * factor))
