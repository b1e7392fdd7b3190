"""Color channels and alpha of libvips images."""

from collections.abc import Callable

import pyvips

pyvips.cache_set_max(0)  # sources are read once

OPAQUE = 255


def split(image: pyvips.Image) -> tuple[pyvips.Image, pyvips.Image | None]:
    """The color bands, and the alpha band if there is one."""
    if not image.hasalpha():
        return image, None
    return image[: image.bands - 1], image[image.bands - 1]


def join(colors: pyvips.Image, alpha: pyvips.Image | None) -> pyvips.Image:
    return colors if alpha is None else colors.bandjoin(alpha)


def on_colors(image: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """The image with changed color bands; alpha stays."""
    colors, alpha = split(image)
    return join(change(colors), alpha)


def premultiplied(image: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """The change applied to colors weighted by alpha, so that colors of transparent pixels don't bleed."""
    if not image.hasalpha():
        return change(image)
    weighted = image.premultiply().cast(image.format)
    return change(weighted).unpremultiply().cast(image.format)


def rgb(image: pyvips.Image) -> pyvips.Image:
    """In sRGB with three color bands."""
    return image if image.interpretation == "srgb" else image.colourspace("srgb")


def with_alpha(image: pyvips.Image) -> pyvips.Image:
    return image if image.hasalpha() else image.bandjoin(255)


def filled(width: int, height: int, color: list[int]) -> pyvips.Image:
    """An sRGB image of one color; a fourth value is its alpha."""
    return (pyvips.Image.black(width, height) + color).cast("uchar").copy(interpretation="srgb")


def hex_color(text: str) -> list[int]:
    """Red, green and blue of six hex digits."""
    return list(bytes.fromhex(text))


def flattened(image: pyvips.Image, color: str) -> pyvips.Image:
    """The image over a color, without alpha."""
    return rgb(image).flatten(background=hex_color(color)) if image.hasalpha() else image


def is_opaque(image: pyvips.Image) -> bool:
    """Whether no pixel is transparent. The image must be in memory."""
    _, alpha = split(image)
    return alpha is None or alpha.min() == OPAQUE


def resample(image: pyvips.Image, width: int, height: int, *, opaque: bool = False) -> pyvips.Image:
    """Resized to exactly this size, whatever its aspect ratio. Faster if its alpha is known to be opaque."""
    if (image.width, image.height) == (width, height):
        return image
    across, down = width / image.width, height / image.height

    def resized(weighted: pyvips.Image) -> pyvips.Image:
        return _fitted(weighted.resize(across, vscale=down), width, height)

    return resized(image) if opaque else premultiplied(image, resized)


def _fitted(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """libvips rounds the size itself, so it can be off by one for extreme scales."""
    if (image.width, image.height) == (width, height):
        return image
    return image.embed(0, 0, width, height, extend="copy")
