"""A source before it is decoded: its size is known, so that limits can be checked first."""

from collections.abc import Callable
from dataclasses import dataclass

import pyvips

from .sizes import Size
from .state import UNCHANGED, Transform

Decode = Callable[[Size | None], list[pyvips.Image]]


@dataclass(frozen=True, slots=True)
class Source:
    """`size` is that of the upright image; `decode` returns upright frames, resized to a size if one is given."""

    size: Size
    decode: Decode
    delays: tuple[int, ...] = ()  # milliseconds
    loop: int = 0
    transform: Transform = UNCHANGED  # from stored to upright coordinates
    frames: int = 1
