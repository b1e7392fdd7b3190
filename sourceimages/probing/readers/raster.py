"""Pictures made small: WebP in sRGB without any metadata, of the first frame or page."""

import base64
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pyvips
from PIL import Image, ImageOps

QUALITIES = (80, 60, 30)
MOST_BYTES = 600_000  # of a preview, so that the answer stays below the longest one
LARGEST = 120_000_000  # pixels that Pillow decodes whole


def draw(path: str, format: str, side: int, upright: bool) -> dict[str, Any]:
    """{"webp": base64}; or {"left": why there is none}."""
    try:
        image = DRAWN[format](path, format, side, upright)
        for quality in QUALITIES:
            made = bytes(image.webpsave_buffer(Q=quality, effort=2, keep="none"))
            if len(made) <= MOST_BYTES:
                return {"webp": base64.b64encode(made).decode()}
        return {"left": "too many bytes"}
    except Exception as error:  # noqa: BLE001, libraries raise whatever they like about files that attack
        return {"left": f"{type(error).__name__}: {error}"[:200]}


def _by_libvips(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    image = pyvips.Image.thumbnail(
        path, side, height=side, size="down", no_rotate=not upright, export_profile="srgb", fail_on="none"
    )
    return _eight_bits(image)


def _svg(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    """From memory, so that it has no folder from which it could show other files."""
    with open(path, "rb") as file:
        text = file.read()
    image = pyvips.Image.svgload_buffer(text)
    longest = max(image.width, image.height)
    return _eight_bits(pyvips.Image.svgload_buffer(text, scale=min(1.0, side / longest)))


def _avif(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    """Turned and cropped as the format says, which Pillow does by half; sequences are for Pillow only."""
    try:
        return _by_libvips(path, format, side, upright)
    except pyvips.Error:
        return _by_pillow(path, format, side, upright)


def _by_pillow(path: str, format: str, side: int, upright: bool) -> pyvips.Image:
    """Turned as the format says, also where nobody asked for upright: that is the size of these pictures."""
    if format == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if format == "jxl":
        from pillow_jxl import JpegXLImagePlugin  # noqa: F401 (registers itself)
    Image.MAX_IMAGE_PIXELS = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(path)
        if picture.width * picture.height > LARGEST:
            raise ValueError("too many pixels")
        return _of_pillow(_in_srgb(_turned(picture, format)), side)


def _turned(picture: Image.Image, format: str) -> Image.Image:
    """HEIC turns itself; of these two, Pillow says how, as an orientation of EXIF."""
    return ImageOps.exif_transpose(picture) if format in ("avif", "jxl") else picture


def _in_srgb(picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if picture.mode in ("I;16", "I", "F"):
        return ImageOps.autocontrast(picture.convert("L"))
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    if profile and picture.mode in ("RGB", "RGBA", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(
                picture, source, target, outputMode="RGB" if picture.mode == "CMYK" else None
            )
            return (turned or picture).convert(mode)
        except (ImageCms.PyCMSError, ValueError, OSError):
            pass  # a profile that cannot be used is as good as none
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


Draw = Callable[[str, str, int, bool], pyvips.Image]
DRAWN: dict[str, Draw] = {
    **dict.fromkeys(("jpg", "png", "webp", "gif", "tif"), _by_libvips),
    **dict.fromkeys(("heic", "jxl", "psd"), _by_pillow),
    "avif": _avif,
    "svg": _svg,
    "pdf": _pdf,
}
