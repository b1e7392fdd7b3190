"""Detect transparent pixels in all frames of an AVIF or HEIC, each of which is a complete image."""

from PIL import AvifImagePlugin, Image, ImageSequence

Image.MAX_IMAGE_PIXELS = None  # the size has already been checked against our own limit
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes address space, which is limited


def all_frames_opaque(path: str, format: str) -> bool:
    with Image.open(path, formats=[format]) as image:
        return all(_is_opaque(frame) for frame in ImageSequence.Iterator(image))


def _is_opaque(frame: Image.Image) -> bool:
    if not frame.has_transparency_data:
        return True
    if frame.mode not in ("RGBA", "LA"):
        frame = frame.convert("RGBA")
    lowest, _ = frame.getchannel("A").getextrema()
    return lowest == 255
