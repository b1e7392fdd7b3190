"""Libraries of the wheel of imagecodecs, for what no Python package asks of them: frames, and images that are cut off.

They are called as their C headers say (jxl/decode.h, webp/decode.h), without the rest of imagecodecs.
"""

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class LibraryMissingError(Exception):
    """The wheel for this system does not bring the library as a file of its own."""


@cache
def library(*names: str) -> ctypes.CDLL:
    """The last of these libraries; those that it needs come first, for it finds them only where they are loaded."""
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
