"""Detect whether an animation is opaque, with its frames composed as the format defines."""

from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image, ImageChops

from .canvas import Frame

OPAQUE = 255


class DrawnFrame(NamedTuple):
    """A frame with its transparency and blending."""

    frame: Frame
    over: bool  # blended over the canvas; otherwise it replaces what was there
    alpha: Image.Image | None  # None if it is fully opaque


def is_opaque(width: int, height: int, frames: Iterable[DrawnFrame]) -> bool:
    """Return whether no pixel of the canvas is translucent while a frame is shown. The canvas starts transparent."""
    canvas = Image.new("L", (width, height), 0)  # OPAQUE, or less for translucent
    for frame, over, alpha in frames:
        position = (frame.area.left, frame.area.top)
        box = (*position, position[0] + frame.area.width, position[1] + frame.area.height)
        before = canvas.crop(box)
        drawn = alpha or Image.new("L", before.size, OPAQUE)
        # Pixels drawn over opaque pixels are opaque; elsewhere only an opaque pixel makes them so.
        canvas.paste(ImageChops.lighter(before, _opaque_parts(drawn)) if over else _opaque_parts(drawn), position)
        if canvas.getextrema()[0] != OPAQUE:
            return False
        if frame.disposal == "cleared":
            canvas.paste(0, box)
        elif frame.disposal == "restored":
            canvas.paste(before, position)
    return True


def alpha_of(image: Image.Image) -> Image.Image | None:
    """The alpha channel; None if the image has none."""
    if not image.has_transparency_data:
        return None
    return (image if image.mode in ("RGBA", "LA") else image.convert("RGBA")).getchannel("A")


def _opaque_parts(alpha: Image.Image) -> Image.Image:
    return alpha.point([0] * OPAQUE + [OPAQUE])
