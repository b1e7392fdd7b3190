"""Detect whether the frames of an animation leave part of the canvas uncovered, and so transparent."""

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Area(NamedTuple):
    left: int
    top: int
    width: int
    height: int

    def contains(self, other: "Area") -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.left + self.width >= other.left + other.width
            and self.top + self.height >= other.top + other.height
        )


class Frame(NamedTuple):
    area: Area
    disposal: Literal["kept", "cleared", "restored"]  # how its area is treated before the next frame is drawn
    transparent: bool = False  # it may have transparent pixels


def covers_canvas(width: int, height: int, frames: Iterable[Frame]) -> bool:
    """Return whether the canvas is fully covered whenever a frame is shown.

    This needs no pixels: the uncovered part is always one rectangle, at first the whole canvas and later the area that
    the previous frame cleared. The next frame either covers it or leaves a gap.
    """
    bare: Area | None = Area(0, 0, width, height)
    for frame in frames:
        if bare is not None and not frame.area.contains(bare):
            return False
        if frame.disposal == "cleared":
            bare = frame.area
        elif frame.disposal == "kept":
            bare = None
    return True
