"""Looks for transparent pixels with libvips, which streams: a picture of 200 megapixels needs little memory."""

import pyvips

pyvips.cache_set_max(0)  # every file is looked at once

OPAQUE_VALUE = {"uchar": 255, "ushort": 65535, "uint": 2**32 - 1, "float": 1.0, "double": 1.0}


def is_opaque(image: pyvips.Image, *, band: int | None = None) -> bool:
    """Whether the alpha band, by default the last one if the picture says it has one, is opaque throughout."""
    if band is None:
        if not image.hasalpha():
            return True
        band = image.bands - 1
    return bool(image[band].min() >= OPAQUE_VALUE[image.format])
