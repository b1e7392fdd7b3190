"""Formats of stored files, by what can be done with them. Names are those of `StoredFile.format`."""

from importlib.util import find_spec

DECODERS = {"heic": "pillow_heif"}  # modules of optional packages, by the format that only they decode
UNDECODABLE = frozenset(format for format, module in DECODERS.items() if find_spec(module) is None)
RENDERABLE = (  # that the render engine can decode
    frozenset({"jpg", "png", "webp", "gif", "tif", "avif", "heic", "jxl", "psd", "svg", "pdf"})
    | {"dng", "nef", "nrw", "cr2", "arw", "pef", "srw", "orf", "rw2", "3fr", "iiq"}
) - UNDECODABLE
VIDEOS = frozenset({"mp4", "mov", "webm"})
FONTS = frozenset({"ttf", "otf"})  # that texts can be rendered with
