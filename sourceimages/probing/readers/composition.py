"""Whether an animation is opaque when its frames are drawn as its format says: over what is there, or in its place."""

from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image, ImageChops

from .canvas import Frame

OPAQUE = 255


class DrawnFrame(NamedTuple):
    """A frame with its transparency, and how it meets the canvas."""

    frame: Frame
    over: bool  # where it is translucent, what was there shows through; otherwise it takes the place of it
    alpha: Image.Image | None  # None if it is opaque throughout


def is_opaque(width: int, height: int, frames: Iterable[DrawnFrame]) -> bool:
    """Whether no pixel of the canvas is translucent while any frame is shown; at first all of it is transparent."""
    canvas = Image.new("L", (width, height), 0)  # OPAQUE, or anything less for translucent
    for frame, over, alpha in frames:
        place = (frame.area.left, frame.area.top)
        box = (*place, place[0] + frame.area.width, place[1] + frame.area.height)
        before = canvas.crop(box)
        drawn = alpha or Image.new("L", before.size, OPAQUE)
        # Whatever is drawn over something opaque is opaque, and only an opaque pixel makes it so elsewhere.
        canvas.paste(ImageChops.lighter(before, _opaque_parts(drawn)) if over else _opaque_parts(drawn), place)
        if canvas.getextrema()[0] != OPAQUE:
            return False
        if frame.disposal == "cleared":
            canvas.paste(0, box)
        elif frame.disposal == "restored":
            canvas.paste(before, place)
    return True


def alpha_of(image: Image.Image) -> Image.Image | None:
    """None if it has none."""
    if not image.has_transparency_data:
        return None
    return (image if image.mode in ("RGBA", "LA") else image.convert("RGBA")).getchannel("A")


def _opaque_parts(alpha: Image.Image) -> Image.Image:
    return alpha.point([0] * OPAQUE + [OPAQUE])
