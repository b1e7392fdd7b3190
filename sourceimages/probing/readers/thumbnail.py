"""Pictures made small: WebP in sRGB without any metadata, of the first frame or page."""

import base64
import contextlib
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyvips
from PIL import ExifTags, Image, ImageOps

from . import alpha, frames  # noqa: F401 (switch off the cache of libvips, and threads of Pillow)

QUALITY_STEPS = ((80, 100, 1), (40, 40, 1), (40, 40, 3))  # quality, that of alpha, and by how much smaller: for noise
MAX_BYTES = 750_000  # of a preview, so that the answer stays below the longest one
MAX_PIXELS = 120_000_000  # pixels that Pillow decodes whole
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
UNDO_ORIENTATION = {  # by EXIF orientation: undoes what Pillow has done to a TIFF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# libvips looks at the bytes, not at our word for them: nothing may be opened as an SVG that has a folder.
pyvips.operation_block_set("VipsForeignLoad", True)
for _loader in ("Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif", "SvgBuffer"):
    pyvips.operation_block_set(f"VipsForeignLoad{_loader}", False)


def render(path: str, format: str, side: int, upright: bool) -> dict[str, Any]:
    """{"webp": base64}; or {"left": why there is none}."""
    try:
        image = RENDERERS[format](path, format, side, upright)
        for quality, alpha_quality, smaller in QUALITY_STEPS:
            small = image if smaller == 1 else image.thumbnail_image(side // smaller, height=side // smaller)
            made = bytes(small.webpsave_buffer(Q=quality, alpha_q=alpha_quality, effort=2, keep="none"))
            if len(made) <= MAX_BYTES:
                return {"webp": base64.b64encode(made).decode()}
        return {"left": "too many bytes"}
    except Exception as error:  # noqa: BLE001, libraries raise whatever they like about files that attack
        return {"left": f"{type(error).__name__}: {error}"[:200]}


def _by_libvips(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    try:
        image = pyvips.Image.thumbnail(
            path, side, height=side, size="down", no_rotate=not upright, export_profile="srgb", fail_on="none"
        )
        return _eight_bits(image).copy_memory()  # decoded here: some that it cannot read fail only then
    except pyvips.Error:
        return _by_pillow(path, format, side, upright)


def _svg(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    """From memory, so that it has no folder from which it could show other files."""
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
        picture = Image.open(path, formats=[PILLOW_FORMATS[format]])  # EPS among the others would start a program
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)  # which loading takes from a TIFF
        small = _without_palette(picture)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        if format == "tif":
            small = (
                small
                if upright or orientation not in UNDO_ORIENTATION
                else small.transpose(UNDO_ORIENTATION[orientation])
            )
        elif _left_to_turn(picture, format, upright):
            small = ImageOps.exif_transpose(small)
        return _of_pillow(_in_srgb(small), side)


def _left_to_turn(picture: Image.Image, format: str, upright: bool) -> bool:
    """Whether its pixels are to be turned as its EXIF says, where decoders do not do that."""
    match format:
        case "avif":
            return True  # Pillow tells by EXIF how the format itself turns it
        case "jxl":
            return bool(getattr(picture, "jpeg", False))  # it is decoded as the JPEG that it was, which is not turned
        case "heic":
            return False
    return upright


def _without_palette(picture: Image.Image) -> Image.Image:
    """In a mode whose pixels can be averaged."""
    if picture.mode in ("I;16", "I", "F"):
        return ImageOps.autocontrast(picture.convert("L"))
    if picture.mode in ("RGB", "RGBA", "CMYK") and "transparency" not in picture.info:
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _in_srgb(picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile := picture.info.get("icc_profile"):
        # A profile that cannot be used is as good as none.
        with contextlib.suppress(ImageCms.PyCMSError, ValueError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            turned = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            return turned or picture
    return picture.convert(mode)


def _pdf(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    import pypdfium2

    page = pypdfium2.PdfDocument(path)[0]
    scale = side / max(page.get_size())
    return _of_pillow(page.render(scale=min(scale, 4.0)).to_pil().convert("RGB"), side)


def _of_pillow(picture: Image.Image, side: int) -> pyvips.Image:
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    bands = len(picture.getbands())
    return pyvips.Image.new_from_memory(picture.tobytes(), picture.width, picture.height, bands, "uchar").copy(
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
