"""A neutral image for sources that have no image: a sheet with the name of the format."""

import pyvips
from PIL import Image, ImageDraw, ImageFont

from .bitmaps import from_pillow
from .sizes import Size
from .source import Source

SIZE = Size(800, 600)
BACKGROUND, SHEET, LINE, TEXT, MUTED = "#eef0f2", "#ffffff", "#c3c9d0", "#4a5561", "#7a8591"
MAX_LABEL, MAX_MESSAGE = 8, 80  # characters


def open_source(label: str, message: str) -> Source:
    label, message = label[:MAX_LABEL], message[:MAX_MESSAGE]

    def decode(target: Size | None) -> list[pyvips.Image]:
        return [_draw(label, message, target or SIZE)]

    return Source(SIZE, decode)


def _draw(label: str, message: str, size: Size) -> pyvips.Image:
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)
    unit = min(size.width / 8, size.height / 6)
    center, middle = size.width / 2, size.height / 2
    left, top, right, bottom = center - 1.4 * unit, middle - 2.3 * unit, center + 1.4 * unit, middle + 1.3 * unit
    fold = 0.8 * unit
    line = max(1, round(unit / 25))
    outline = [(left, top), (right - fold, top), (right, top + fold), (right, bottom), (left, bottom)]
    draw.polygon(outline, fill=SHEET, outline=LINE, width=line)
    draw.line([(right - fold, top), (right - fold, top + fold), (right, top + fold)], fill=LINE, width=line)
    for text, y, height, color in ((label, middle - 0.2 * unit, 0.75, TEXT), (message, middle + 2 * unit, 0.32, MUTED)):
        font_size = height * unit
        if font_size >= 4:
            font = ImageFont.load_default(font_size)
            draw.text((center, y), text, fill=color, font=font, anchor="mm")
    return from_pillow(image)
