"""EXIF orientation: from the metadata of a decoded image, and applied to pixels and areas."""

import re

import pyvips

from .sizes import Size
from .state import Transform

TAG = "orientation"
XMP = "xmp-data"
INVERSE = {6: 8, 8: 6}  # of each other; the others are their own
IN_XMP = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>\s*)([1-8])\b""")


def read(image: pyvips.Image) -> int:
    """A value from 1 to 8. XMP counts if neither EXIF nor TIFF has the tag."""
    if image.get_typeof(TAG) and 1 <= (value := int(image.get(TAG))) <= 8:
        return value
    if image.get_typeof(XMP) and (found := IN_XMP.search(bytes(image.get(XMP)))):
        return int(found[1])
    return 1


def swaps_sides(value: int) -> bool:
    return value >= 5


def upright(size: Size, value: int) -> Size:
    """The size after the orientation is applied, and the other way round."""
    return size.turned() if swaps_sides(value) else size


def apply(image: pyvips.Image, value: int) -> pyvips.Image:
    """The upright image. The image must be in memory unless the orientation is 1 or 2."""
    match value:
        case 2:
            return image.fliphor()
        case 3:
            return image.rot180()
        case 4:
            return image.flipver()
        case 5:
            return image.rot90().fliphor()
        case 6:
            return image.rot90()
        case 7:
            return image.rot270().fliphor()
        case 8:
            return image.rot270()
    return image


def transform(stored: Size, value: int) -> Transform:
    """From stored to upright coordinates."""
    width, height = stored
    return {
        2: Transform(-1, 0, 0, 1, width, 0),
        3: Transform(-1, 0, 0, -1, width, height),
        4: Transform(1, 0, 0, -1, 0, height),
        5: Transform(0, 1, 1, 0, 0, 0),
        6: Transform(0, 1, -1, 0, height, 0),
        7: Transform(0, -1, -1, 0, height, width),
        8: Transform(0, -1, 1, 0, 0, width),
    }.get(value, Transform())
