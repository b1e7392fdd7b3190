"""Whether the frames of an animation leave a part of its canvas uncovered, and so transparent, at any time."""

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
    disposal: Literal["kept", "cleared", "restored"]  # what becomes of its area before the next frame is drawn
    transparent: bool = False  # it may have transparent pixels of its own


def covers_canvas(width: int, height: int, frames: Iterable[Frame]) -> bool:
    """Whether every point of the canvas has been drawn upon by the time each frame is shown.

    No pixels are needed: all that can be bare when a frame is drawn is one rectangle, at first the whole canvas and
    later what the frame before has cleared, and the frame either covers it or leaves a hole.
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
