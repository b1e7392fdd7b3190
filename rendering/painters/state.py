"""What goes through the operations: frames, and where areas of the stored image are in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyvips

from rendering.limits import MAX_FRAMES, MAX_PIXELS

from .problems import check_pixels
from .sizes import Size


class Box(NamedTuple):
    """An area in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


class Transform(NamedTuple):
    """An affine map: x' = a·x + c·y + e, y' = b·x + d·y + f."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0
    e: float = 0.0
    f: float = 0.0

    def then(self, other: Transform) -> Transform:
        a, b, c, d, e, f = other
        return Transform(
            a * self.a + c * self.b,
            b * self.a + d * self.b,
            a * self.c + c * self.d,
            b * self.c + d * self.d,
            a * self.e + c * self.f + e,
            b * self.e + d * self.f + f,
        )

    def box(self, area: Box) -> Box:
        """The bounding box of the transformed area."""
        corners = [
            (self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f)
            for x in (area.x, area.x + area.width)
            for y in (area.y, area.y + area.height)
        ]
        left, top = (min(values) for values in zip(*corners, strict=True))
        right, bottom = (max(values) for values in zip(*corners, strict=True))
        return Box(left, top, right - left, bottom - top)


UNCHANGED = Transform()


def scaling(across: float, down: float) -> Transform:
    return Transform(a=across, d=down)


def moving(x: float, y: float) -> Transform:
    return Transform(e=x, f=y)


def rotation(angle: float, before: Size, after: Size) -> Transform:
    """A clockwise rotation in degrees around the center; the canvas changes its size."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (
        moving(-before.width / 2, -before.height / 2)
        .then(Transform(cos, sin, -sin, cos))
        .then(moving(after.width / 2, after.height / 2))
    )


class Limits(NamedTuple):
    pixels: int = MAX_PIXELS  # of all frames
    frames: int = MAX_FRAMES


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas of the image's metadata, in stored coordinates."""

    subject: Box | None = None
    crop: Box | None = None
    named: Mapping[str, Box] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """Frames of one size: sRGB or gray, 8 bits, with or without alpha."""

    frames: tuple[pyvips.Image, ...]
    delays: tuple[int, ...] = ()  # milliseconds
    loop: int = 0
    transform: Transform = UNCHANGED
    areas: Areas = field(default_factory=Areas)
    limits: Limits = field(default_factory=Limits)
    shortfall: float = 1.0  # of the last resize; see sizes.Resizing

    @property
    def first(self) -> pyvips.Image:
        return self.frames[0]

    @property
    def size(self) -> Size:
        return Size(self.first.width, self.first.height)

    def map(self, change: Callable[[pyvips.Image], pyvips.Image], transform: Transform | None = None) -> State:
        """Every frame changed, and areas moved with them."""
        moved = self.transform.then(transform) if transform else self.transform
        return replace(self, frames=tuple(map(change, self.frames)), transform=moved)

    def in_memory(self) -> State:
        """With decoded frames: a pipeline that is used twice would be decoded twice, or can't be read out of order."""
        self.check(*self.size)
        return self.map(lambda frame: frame.copy_memory())

    def check(self, width: float, height: float) -> None:
        """Raises TooLarge if the frames can't have this size."""
        check_pixels(width, height, self.limits.pixels, frames=len(self.frames))

    def area(self, stored: Box) -> Box:
        """Where an area of the stored image is now."""
        return self.transform.box(stored)
