"""Text drawn over the image with an uploaded font.

FreeType gets the font file itself. Pango would look the font up by its family name among all fonts that this process
has seen, so a font of one organization could replace that of another.
"""

from collections.abc import Mapping
from typing import Any

import pyvips
from PIL import Image, ImageDraw, ImageFont

from .channels import filled, hex_color, rgb, with_alpha
from .geometry import is_position, offset, rotated
from .problems import InvalidOperation, UnreadableSource, check_pixels
from .sizes import Size, rounded
from .state import State

Options = Mapping[str, Any]
FONT_FORMATS = {"ttf", "otf"}
MAX_CHARACTERS = 2000
MAX_FONT_SIZE = 4000  # pixels
LINE_HEIGHT = 1.2
ALIGN = {"left": "left", "centre": "center", "center": "center", "right": "right"}


def text(state: State, options: Options, dpr: float) -> State:
    """The text over the image, whose size does not change."""
    mask = _rendered(options, dpr, state)
    color = hex_color(options.get("color") or "000000")
    opacity = options.get("opacity", 100) / 100
    layer = filled(*mask.size, color).bandjoin(_from_mask(mask).linear(opacity, 0, uchar=True))
    drawn = rotated(State((layer.copy(interpretation="srgb"),), limits=state.limits), float(options.get("angle") or 0))
    anchor = str(options.get("anchor") or "center_center")
    x, y = offset(anchor if is_position(anchor) else "center_center", drawn.size, state.size, dpr)
    over = drawn.first.copy_memory()
    return state.map(lambda frame: _placed(with_alpha(rgb(frame)), over, x, y))


def _placed(image: pyvips.Image, over: pyvips.Image, x: int, y: int) -> pyvips.Image:
    return image.composite2(over, "over", x=x, y=y).crop(0, 0, image.width, image.height).cast("uchar")


def _from_mask(mask: Image.Image) -> pyvips.Image:
    return pyvips.Image.new_from_memory(mask.tobytes(), mask.width, mask.height, 1, "uchar")


def _rendered(options: Options, dpr: float, state: State) -> Image.Image:
    """The coverage of each pixel of the text."""
    content = str(options["text"]).replace("\\n", "\n").replace("\r", "")[:MAX_CHARACTERS]
    width, height = (rounded(options[name] * dpr) if options.get(name) else None for name in ("width", "height"))
    size = min(max(float(options.get("size") or 16) * dpr, 1.0), MAX_FONT_SIZE)
    if options.get("resize_to_box") and (width or height):
        size = _fitting_size(options, content, width, height, dpr)
    block = Block(options, size, width, dpr)
    block.set(content)
    check_pixels(block.size.width, block.size.height, state.limits.pixels)
    return block.draw()


class Block:
    """Lines of text in a font size, wrapped at a width."""

    def __init__(self, options: Options, size: float, width: int | None, dpr: float) -> None:
        self._font = _font(options["font"], size)
        self._width = width
        self._align = ALIGN.get(str(options.get("align") or "left"), "left")
        self._step = size * LINE_HEIGHT + float(options.get("spacing") or 0) * dpr
        self.lines: list[str] = []
        self.widest = 0.0
        self.size = Size(1, 1)

    def set(self, content: str) -> None:
        self.lines = [line for paragraph in content.split("\n") for line in self._wrapped(paragraph)]
        self.widest = max(self._font.getlength(line) for line in self.lines)
        ascent, descent = self._font.getmetrics()
        height = (len(self.lines) - 1) * max(0.0, self._step) + ascent + descent
        self.size = Size(self._width or rounded(self.widest + 1), rounded(height))

    def draw(self) -> Image.Image:
        image = Image.new("L", self.size, 0)
        draw = ImageDraw.Draw(image)
        for number, line in enumerate(self.lines):
            free = self.size.width - self._font.getlength(line)
            x = {"left": 0.0, "center": free / 2, "right": free}[self._align]
            draw.text((x, number * max(0.0, self._step)), line, fill=255, font=self._font)
        return image

    def _wrapped(self, paragraph: str) -> list[str]:
        if not self._width:
            return [paragraph]
        lines = [""]
        for word in paragraph.split(" "):
            candidate = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and self._font.getlength(candidate) > self._width:
                lines.append(word)
            else:
                lines[-1] = candidate
        return lines


def _fitting_size(options: Options, content: str, width: int | None, height: int | None, dpr: float) -> float:
    """The largest font size with which the text fits into the box."""
    low, high = 1.0, float(min(MAX_FONT_SIZE, (height or width or 1) * 2))
    for _ in range(12):
        middle = (low + high) / 2
        block = Block(options, middle, width, dpr)
        block.set(content)
        if block.widest <= (width or block.widest) and block.size.height <= (height or block.size.height):
            low = middle
        else:
            high = middle
    return low


def _font(font: Mapping[str, str], size: float) -> ImageFont.FreeTypeFont:
    if font.get("format") not in FONT_FORMATS:
        raise InvalidOperation("The font of a text operation must be a TTF or OTF file.")
    try:
        return ImageFont.truetype(font["path"], size)
    except (OSError, ValueError) as error:
        raise UnreadableSource("The font of the text operation can't be read.") from error
