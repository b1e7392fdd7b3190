"""What a file is, told from its bytes by a limited child process."""

import atexit
import base64
import os
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from rokka.errors import Unavailable
from sourceimages.errors import FormatNotAllowed, TooManyPixels, UnreadableImage

from .pool import BusyError, ChildDiedError, Pool, SandboxMissingError

__all__ = ["Probe", "SandboxMissingError", "check_sandbox", "colours", "probe", "raster"]

CLOCK_SECONDS = 6.0  # for the question what a file is; the child's own limit is on computing time
PIXELS_SECONDS = 3.0  # for the question whether its pixels are opaque, which may be left open
DESCRIPTION_SECONDS = 2.0  # for what it tells of itself, which may be left out
COLOURS_SECONDS = 5.0
RASTER_SECONDS = 10.0
WITH_COLOURS = {"jpg", "png", "webp", "gif", "tif"}
SECONDS = CLOCK_SECONDS + PIXELS_SECONDS + DESCRIPTION_SECONDS
WITHOUT_PIXEL_LIMIT = {"jpg", "webp", "svg", "pdf", "eps"}  # JPEG and WebP by agreement, the others have no pixels
REFUSALS = {error.reason: error for error in (UnreadableImage, FormatNotAllowed)}

_pool = Pool(settings.PROBE_PROCESSES, sandbox_required=settings.SANDBOX == "required")
_drawing = Pool(settings.PROBE_PROCESSES, sandbox_required=settings.SANDBOX == "required")  # keeps no upload waiting
for _children in _pool, _drawing:
    atexit.register(_children.close)
    os.register_at_fork(after_in_child=_children.forget)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file is. Width and height are those of the pixels a decoder hands over, 0 where there are none."""

    format: str
    mimetype: str
    width: int
    height: int
    opaque: bool
    animated: bool
    # What it tells of itself, by group: beside the question what it is.
    static_metadata: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)


def probe(
    path: str | os.PathLike[str], *, seconds: float = CLOCK_SECONDS + PIXELS_SECONDS + DESCRIPTION_SECONDS
) -> Probe:
    """What the file is. UnreadableImage, FormatNotAllowed, TooManyPixels; Unavailable when too much is going on.

    No reader is busy with it for more than so many `seconds`.
    """
    deadline = time.monotonic() + seconds
    path = os.path.abspath(path)
    if os.path.getsize(path) == 0:
        raise FormatNotAllowed("The file is empty.")
    try:
        facts = _read_header(path, min(seconds, CLOCK_SECONDS))
        _check_pixels(facts)
        if facts["opaque"] is None:
            facts["opaque"] = _is_opaque(path, facts["format"], min(deadline - time.monotonic(), PIXELS_SECONDS))
        facts["static_metadata"] = _describe(
            path, facts["format"], min(deadline - time.monotonic(), DESCRIPTION_SECONDS)
        )
    except BusyError as error:
        raise Unavailable("Too many files are being read at this moment. Try again.") from error
    return Probe(**facts)


def colours(path: str | os.PathLike[str], format: str) -> list[str]:
    """Its dominant colours, which takes looking at its pixels; none where that takes too long. Unavailable as above."""
    try:
        answer = _pool.ask({"ask": "colours", "path": os.path.abspath(path), "format": format}, seconds=COLOURS_SECONDS)
    except ChildDiedError:
        return []
    except BusyError as error:
        raise Unavailable("Too many files are being read at this moment. Try again.") from error
    return [str(colour) for colour in answer["colours"]]


def raster(path: str | os.PathLike[str], format: str, *, side: int, upright: bool) -> bytes | None:
    """The picture as WebP of at most so many pixels a side; None where it cannot be drawn. Unavailable as above.

    `upright` turns it as its EXIF orientation says; otherwise it is as its pixels are stored.
    """
    question = {"ask": "raster", "path": os.path.abspath(path), "format": format, "side": side, "upright": upright}
    try:
        answer = _drawing.ask(question, seconds=RASTER_SECONDS)
    except ChildDiedError:
        return None
    except BusyError as error:
        raise Unavailable("Too many pictures are being drawn at this moment. Try again.") from error
    return base64.b64decode(answer["webp"]) if "webp" in answer else None


def check_sandbox() -> None:
    """Raise SandboxMissingError where SANDBOX=required and a child proves that it is not in one."""
    _pool.check()


def _read_header(path: str, seconds: float) -> dict[str, Any]:
    try:
        facts = _pool.ask({"ask": "header", "path": path}, seconds=seconds)
    except ChildDiedError as error:
        raise UnreadableImage(f"The file cannot be read: {error}.") from error
    if "error" in facts:
        raise REFUSALS[facts["error"]](facts["message"])
    return facts


def _check_pixels(facts: dict[str, Any]) -> None:
    width, height, limit = facts["width"], facts["height"], settings.MAX_MEGAPIXELS
    if facts["format"] not in WITHOUT_PIXEL_LIMIT and width * height > limit * 1_000_000:
        raise TooManyPixels(
            f"{width} × {height} is {width * height / 1_000_000:.4g} megapixels; the limit is {limit}.",
            width=width,
            height=height,
            limit=limit,
        )


def _is_opaque(path: str, format: str, seconds: float) -> bool:
    """Asked after the size is known to be bearable. A file whose pixels are too much work is kept all the same."""
    try:
        return bool(_pool.ask({"ask": "opaque", "path": path, "format": format}, seconds=seconds)["opaque"])
    except ChildDiedError:
        return False


def _describe(path: str, format: str, seconds: float) -> dict[str, Any]:
    try:
        return dict(_pool.ask({"ask": "describe", "path": path, "format": format}, seconds=seconds)["groups"])
    except ChildDiedError:
        return {}
