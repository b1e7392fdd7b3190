"""Convert decoded images of any kind to sRGB or gray with 8 bits."""

import contextlib
import re

import pyvips

PROFILE = "icc-profile-data"
COLOR_BANDS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3, "cmyk": 4, "lab": 3, "xyz": 3, "scrgb": 3}
FLOATING = ("scrgb", "lab", "xyz", "labs", "yxy", "lch", "cmc", "hsv", "oklab", "oklch")
SRGB = re.compile(
    rb"sRGB IEC61966-2[.-]1|sRGB built-in|\x00s\x00R\x00G\x00B\x00 \x00I\x00E\x00C\x006\x001\x009\x006\x006"
)
DESCRIPTION_WITHIN = 4096  # how much of a profile is searched for its description


def tagged(image: pyvips.Image, interpretation: str, profile: bytes | None) -> pyvips.Image:
    """The image with an ICC profile, so that it can be converted. Invalid profiles are ignored."""
    image = image.copy(interpretation=interpretation)
    if profile:
        with contextlib.suppress(pyvips.Error):
            image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    return image


def convert(image: pyvips.Image) -> pyvips.Image:
    """In sRGB or gray with 8 bits, with alpha if the image has it, and without other channels."""
    image = _without_extra_bands(_in_known_range(image))
    image = _by_profile(image)
    if image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("b-w" if image.interpretation == "grey16" else "srgb")
    return image if image.format == "uchar" else image.cast("uchar")


def _in_known_range(image: pyvips.Image) -> pyvips.Image:
    """Floating-point and 32-bit samples have no fixed range, except in color spaces that define one."""
    if image.interpretation in FLOATING or image.format in ("uchar", "ushort"):
        return image
    colors = image.cast("float").copy_memory()
    low, high = colors.min(), colors.max()
    colors = (colors - low) * (255 / (high - low) if high > low else 0)
    return colors.cast("uchar").copy(interpretation="srgb" if image.bands > 2 else "b-w")


def _without_extra_bands(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation == "multiband":
        image = image.copy(interpretation="srgb" if image.bands > 2 else "b-w")
    known = COLOR_BANDS.get(image.interpretation)
    if known is None or image.bands <= known + 1:
        return image
    return image[: known + 1]


def _by_profile(image: pyvips.Image) -> pyvips.Image:
    """Colors converted by the embedded profile; a profile that does not fit the image is ignored."""
    embedded = bytes(image.get(PROFILE)) if image.get_typeof(PROFILE) else b""
    is_cmyk = image.interpretation == "cmyk"
    if not is_cmyk and (not embedded or SRGB.search(embedded[:DESCRIPTION_WITHIN])):
        return image
    if embedded:
        try:
            return image.icc_transform("srgb", embedded=True, intent="relative")
        except pyvips.Error:
            pass
    return image.icc_transform("srgb", input_profile="cmyk", intent="relative") if is_cmyk else image
