"""Generated images of random pixels, different for each seed."""

import io
import random

import numpy
from imagecodecs import jpegxl_encode
from PIL import Image


def image(width: int = 8, height: int = 6, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    noise = random.Random(seed).randbytes(width * height * len(mode))
    return Image.frombytes(mode, (width, height), noise)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jxl(image: Image.Image | list[Image.Image], **options: object) -> bytes:
    """A JPEG XL of an image, or an animation of several."""
    return bytes(jpegxl_encode(numpy.stack(image) if isinstance(image, list) else numpy.asarray(image), **options))


def png(width: int = 8, height: int = 6, *, seed: int = 0, mode: str = "RGB") -> bytes:
    return encoded(image(width, height, seed=seed, mode=mode), "PNG")


def jpeg(width: int = 8, height: int = 6, *, seed: int = 0) -> bytes:
    return encoded(image(width, height, seed=seed), "JPEG")


def svg(*, width: int = 30, height: int = 20) -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        '<rect width="10" height="10" fill="teal"/></svg>'
    ).encode()
