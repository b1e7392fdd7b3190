"""Detect transparent pixels with libvips, which streams: an image of 200 megapixels needs little memory."""

import pyvips

pyvips.cache_set_max(0)  # each file is read once

OPAQUE_VALUE = {"uchar": 255, "ushort": 65535, "uint": 2**32 - 1, "float": 1.0, "double": 1.0}


def is_opaque(image: pyvips.Image, *, band: int | None = None) -> bool:
    """Return whether the alpha band (default: the last band, if the image has alpha) is fully opaque."""
    if band is None:
        if not image.hasalpha():
            return True
        band = image.bands - 1
    return bool(image[band].min() >= OPAQUE_VALUE[image.format])
