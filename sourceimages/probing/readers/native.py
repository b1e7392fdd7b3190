"""Libraries bundled with the imagecodecs wheel, for features without a Python API: frames, and truncated images.

They are called through ctypes as declared in their C headers (jxl/decode.h, webp/decode.h).
"""

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class LibraryMissingError(Exception):
    """The package is not installed, or its wheel for this platform does not include the library as a separate file."""


@cache
def library(*names: str) -> ctypes.CDLL:
    """The last of these libraries. Its dependencies come first: they must be loaded before it."""
    return [ctypes.CDLL(str(_path(name))) for name in names][-1]


def _path(name: str) -> Path:
    spec = find_spec("imagecodecs")
    if spec is None or spec.origin is None:
        raise LibraryMissingError("imagecodecs")
    package = Path(spec.origin).parent
    for folder in (package.parent / "imagecodecs.libs", package / ".dylibs"):
        for found in sorted(folder.glob(f"{name}[-.]*")):
            return found
    raise LibraryMissingError(name)
