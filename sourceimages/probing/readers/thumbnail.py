"""Thumbnails: WebP in sRGB without metadata, of the first frame or page."""

import base64
import contextlib
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyvips
from PIL import ExifTags, Image, ImageOps

from . import alpha, frames  # noqa: F401 (switch off the cache of libvips, and threads of Pillow)

# quality, alpha quality, and reduction of the size (for noise)
QUALITY_STEPS = ((80, 100, 1), (40, 40, 1), (40, 40, 3))
MAX_BYTES = 750_000  # keeps the base64 response below MAX_RESPONSE_BYTES
MAX_PIXELS = 120_000_000  # limit of images that Pillow decodes
PILLOW_FORMATS = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "tif": "TIFF",
    "avif": "AVIF",
    "heic": "HEIF",
    "jxl": "JXL",
    "psd": "PSD",
}
UNDO_ORIENTATION = {  # by EXIF orientation: reverts what Pillow applies to TIFF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# libvips detects formats itself, so only safe loaders are enabled: an SVG opened by path could load other files.
pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in ("Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif", "SvgBuffer"):
    pyvips.operation_block_set(f"VipsForeignLoad{_loader}", False)


def render(path: str, format: str, side: int, upright: bool) -> dict[str, Any]:
    """{"webp": base64}, or {"error": reason}."""
    try:
        image = RENDERERS[format](path, format, side, upright)
        for quality, alpha_quality, divisor in QUALITY_STEPS:
            small = image if divisor == 1 else image.thumbnail_image(side // divisor, height=side // divisor)
            made = bytes(small.webpsave_buffer(Q=quality, alpha_q=alpha_quality, effort=2, keep="none"))
            if len(made) <= MAX_BYTES:
                return {"webp": base64.b64encode(made).decode()}
        return {"error": "the thumbnail is too large"}
    except Exception as error:  # noqa: BLE001, libraries raise any error for hostile files
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def _by_libvips(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    try:
        image = pyvips.Image.thumbnail(
            path, side, height=side, size="down", no_rotate=not upright, export_profile="srgb", fail_on="none"
        )
        return _eight_bits(image).copy_memory()  # decoded here, as some errors only occur then
    except pyvips.Error:
        return _by_pillow(path, format, side, upright)


def _svg(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    """Render from memory: without a path, the SVG can't load other files."""
    with open(path, "rb") as file:
        text = file.read()
    image = pyvips.Image.svgload_buffer(text)
    longest = max(image.width, image.height)
    return _eight_bits(pyvips.Image.svgload_buffer(text, scale=min(1.0, side / longest)))


def _by_pillow(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    if format == "heic":
        from . import heif  # noqa: F401 (registers it, with one thread)
    if format == "jxl":
        from . import jxl  # noqa: F401 (likewise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(path, formats=[PILLOW_FORMATS[format]])  # never EPS, which would start a program
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        # read before loading, which removes it from a TIFF
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        small = _without_palette(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        if format == "tif":
            small = (
                small
                if upright or orientation not in UNDO_ORIENTATION
                else small.transpose(UNDO_ORIENTATION[orientation])
            )
        elif _needs_orientation(image, format, upright):
            small = ImageOps.exif_transpose(small)
        return _of_pillow(_in_srgb(small), side)


def _needs_orientation(image: Image.Image, format: str, upright: bool) -> bool:
    """Return whether the EXIF orientation still has to be applied after decoding."""
    match format:
        case "avif":
            return True  # Pillow reports the rotation of the format as EXIF orientation
        case "jxl":
            return bool(getattr(image, "jpeg", False))  # transcoded JPEGs are decoded as JPEG, without rotation
        case "heic":
            return False
    return upright


def _without_palette(image: Image.Image) -> Image.Image:
    """The image in a mode whose pixels can be averaged."""
    if image.mode in ("I;16", "I", "F"):
        return ImageOps.autocontrast(image.convert("L"))
    if image.mode in ("RGB", "RGBA", "CMYK") and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _in_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile := image.info.get("icc_profile"):
        # Invalid profiles are ignored.
        with contextlib.suppress(ImageCms.PyCMSError, ValueError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            turned = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            return turned or image
    return image.convert(mode)


def _pdf(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    import pypdfium2

    page = pypdfium2.PdfDocument(path)[0]
    scale = side / max(page.get_size())
    return _of_pillow(page.render(scale=min(scale, 4.0)).to_pil().convert("RGB"), side)


def _of_pillow(image: Image.Image, side: int) -> pyvips.Image:
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    bands = len(image.getbands())
    return pyvips.Image.new_from_memory(image.tobytes(), image.width, image.height, bands, "uchar").copy(
        interpretation="srgb" if bands > 2 else "b-w"
    )


def _eight_bits(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("srgb")
    return image if image.format == "uchar" else image.cast("uchar")


Renderer = Callable[[str, str, int, bool], pyvips.Image]
RENDERERS: dict[str, Renderer] = {
    **dict.fromkeys(("jpg", "png", "webp", "gif", "tif", "avif"), _by_libvips),
    **dict.fromkeys(("heic", "jxl", "psd"), _by_pillow),
    "svg": _svg,
    "pdf": _pdf,
}
