"""What a file is, told from its bytes by a limited child process."""

import atexit
import base64
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings

from rokka.core.errors import Unavailable
from sourceimages.errors import FormatNotAllowed, ReadingInterrupted, TooManyPixels, UnreadableImage

from .pool import Pool, PoolExhaustedError, SandboxMissingError, WorkerDiedError, WorkerKilledError, WorkLimitError

__all__ = ["Probe", "SandboxMissingError", "check_sandbox", "dominant_colors", "probe", "render_thumbnail"]

HEADER_TIMEOUT = 6.0  # for the question what a file is; the child's own limit is on computing time
OPACITY_TIMEOUT = 3.0  # for the question whether its pixels are opaque, which may be left open
DAMAGE_TIMEOUT = 3.0  # for the question what is missing, of a file that seems to be cut off
METADATA_TIMEOUT = 2.0  # for what it tells of itself, which may be left out
COLORS_TIMEOUT = 5.0
THUMBNAIL_TIMEOUT = 10.0
FRESH_WORKER_TIMEOUT = 15.0  # for a second try of any question
FORMATS_WITH_COLORS = {"jpg", "png", "webp", "gif", "tif"}
TOTAL_TIMEOUT = HEADER_TIMEOUT + DAMAGE_TIMEOUT + OPACITY_TIMEOUT + METADATA_TIMEOUT
WITHOUT_PIXEL_LIMIT = {"jpg", "webp", "svg", "pdf", "eps"}  # JPEG and WebP by agreement, the others have no pixels
ERRORS_BY_REASON = {error.reason: error for error in (UnreadableImage, FormatNotAllowed)}

_pool = Pool(settings.PROBE_WORKERS, sandbox_required=settings.SANDBOX == "required")
_thumbnail_pool = Pool(
    settings.PROBE_WORKERS, sandbox_required=settings.SANDBOX == "required"
)  # keeps no upload waiting
for _children in _pool, _thumbnail_pool:
    atexit.register(_children.close)
    os.register_at_fork(after_in_child=_children.detach)


log = structlog.get_logger()


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
    # False if a reader was ended before it could tell whether the file is opaque, or what it tells of itself.
    complete: bool = field(default=True, compare=False)


def probe(
    path: str | os.PathLike[str],
    *,
    seconds: float = TOTAL_TIMEOUT,
    thorough: bool = False,
) -> Probe:
    """What the file is. UnreadableImage, FormatNotAllowed, TooManyPixels; Unavailable when too much is going on.

    No reader is busy with it for more than so many `seconds`, unless it has to be read once more, alone. `thorough`
    does that for every question, not only for the one what the file is.
    """
    deadline = time.monotonic() + seconds
    path = os.path.abspath(path)
    if os.path.getsize(path) == 0:
        raise FormatNotAllowed("The file is empty.")
    with _busy("Too many files are being read at this moment. Try again."):
        facts = _read_header(path, min(seconds, HEADER_TIMEOUT))
        _check_pixels(facts)
        damaged: dict[str, Any] | None = {}
        if problem := facts.pop("problem"):
            left = min(deadline - time.monotonic(), DAMAGE_TIMEOUT)
            damaged = _damage(path, facts["format"], problem, left, insist=thorough)
        opaque, format = facts["opaque"], facts["format"]
        if opaque is None:  # asked after the size is known to be bearable
            left = min(deadline - time.monotonic(), OPACITY_TIMEOUT)
            opaque = _is_opaque(path, format, left, insist=thorough)
        left = min(deadline - time.monotonic(), METADATA_TIMEOUT)
        groups = _extract_metadata(path, format, left, insist=thorough)
    complete = None not in (opaque, groups, damaged)
    said = (groups or {}) | ({"damaged": damaged} if damaged else {})
    return Probe(**facts | {"opaque": bool(opaque)}, static_metadata=said, complete=complete)


def dominant_colors(path: str | os.PathLike[str], format: str) -> list[str]:
    """Its dominant colours, which takes looking at its pixels; none where that is too much work.

    Unavailable as above, ReadingInterrupted.
    """
    question = {"ask": "colours", "path": os.path.abspath(path), "format": format}
    with _busy("Too many files are being read at this moment. Try again."):
        try:
            answer = _call_twice(_pool, question, COLORS_TIMEOUT)
        except WorkerDiedError:
            return []
    return [str(colour) for colour in answer["colours"]]


def render_thumbnail(path: str | os.PathLike[str], format: str, *, side: int, upright: bool) -> bytes | None:
    """The picture as WebP of at most so many pixels a side; None where it cannot be drawn. Raises the same.

    `upright` turns it as its EXIF orientation says; otherwise it is as its pixels are stored.
    """
    question = {"ask": "raster", "path": os.path.abspath(path), "format": format, "side": side, "upright": upright}
    with _busy("Too many pictures are being drawn at this moment. Try again."):
        try:
            answer = _call_twice(_thumbnail_pool, question, THUMBNAIL_TIMEOUT)
        except WorkerDiedError:
            return None
    return base64.b64decode(answer["webp"]) if "webp" in answer else None


def check_sandbox() -> None:
    """Raise SandboxMissingError where SANDBOX=required and a child proves that it is not in one."""
    _pool.check_sandbox()


def _call_twice(pool: Pool, question: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer; ChildDiedError where the file is to blame, ReadingInterrupted where nobody knows.

    A reader that dies may have been killed for the memory that others took. So the question is put once more, while
    nothing else is read in this process.
    """
    try:
        return pool.call(question, seconds=seconds)
    except WorkLimitError:
        raise
    except WorkerDiedError as error:
        log.warning("probe.reader_died", call=question["ask"], why=str(error))
    with _pool.call_exclusively(), _thumbnail_pool.call_exclusively():
        try:
            return pool.call_fresh_worker(question, seconds=FRESH_WORKER_TIMEOUT)
        except WorkerKilledError as error:
            log.warning("probe.reader_died_alone", call=question["ask"], why=str(error))
            raise ReadingInterrupted(
                f"The file could not be read to the end, which may not be its fault: {error}. Try again later."
            ) from error


def _damage(path: str, format: str, problem: str, seconds: float, *, insist: bool) -> dict[str, Any] | None:
    """What is missing in the image; nothing if it is whole all the same. None if that is not known.

    UnreadableImage if nothing can be decoded; if the file is kept already (`insist`), that is said of it instead. Of
    one that is too much work only the end is said to be missing.
    """
    question = {"ask": "damage", "path": path, "format": format, "problem": problem}
    answer = _call(question, {"damaged": {"missing": "end"}}, seconds, insist=insist)
    if answer and "unreadable" in answer:
        if insist:
            return {"missing": "image"}
        raise UnreadableImage(answer["unreadable"])
    return None if answer is None else dict(answer.get("damaged", {}))


def _is_opaque(path: str, format: str, seconds: float, *, insist: bool) -> bool | None:
    """A file whose pixels are too much work is kept all the same, as not opaque. None if it is not known."""
    question = {"ask": "opaque", "path": path, "format": format}
    answer = _call(question, {"opaque": False}, seconds, insist=insist)
    return None if answer is None else bool(answer["opaque"])


def _extract_metadata(path: str, format: str, seconds: float, *, insist: bool) -> dict[str, Any] | None:
    question = {"ask": "describe", "path": path, "format": format}
    answer = _call(question, {"groups": {}}, seconds, insist=insist)
    return None if answer is None else dict(answer["groups"])


def _call(
    question: dict[str, Any], otherwise: dict[str, Any], seconds: float, *, insist: bool
) -> dict[str, Any] | None:
    """The answer, or `otherwise` if the file has none; None if that is not known, and is worth another look later."""
    try:
        return _call_twice(_pool, question, seconds) if insist else _pool.call(question, seconds=seconds)
    except WorkLimitError:
        return otherwise
    except WorkerDiedError:
        return otherwise if insist else None
    except ReadingInterrupted:
        return None


@contextmanager
def _busy(message: str) -> Iterator[None]:
    try:
        yield
    except PoolExhaustedError as error:
        raise Unavailable(message) from error


def _read_header(path: str, seconds: float) -> dict[str, Any]:
    try:
        facts = _call_twice(_pool, {"ask": "header", "path": path}, seconds)
    except WorkerDiedError as error:
        raise UnreadableImage(f"The file cannot be read: {error}.") from error
    if "error" in facts:
        raise ERRORS_BY_REASON[facts["error"]](facts["message"])
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
