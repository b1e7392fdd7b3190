"""Probe files: format, dimensions, transparency and metadata, read by sandboxed worker processes."""

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

HEADER_TIMEOUT = 6.0  # format and dimensions; the worker itself limits CPU time
OPACITY_TIMEOUT = 3.0  # opacity, which can stay unknown
DAMAGE_TIMEOUT = 3.0  # missing parts of truncated files
METADATA_TIMEOUT = 2.0  # static metadata, which can stay unknown
COLORS_TIMEOUT = 5.0
THUMBNAIL_TIMEOUT = 10.0
FRESH_WORKER_TIMEOUT = 15.0  # second attempt of any request
FORMATS_WITH_COLORS = {"jpg", "png", "webp", "gif", "tif"}
TOTAL_TIMEOUT = HEADER_TIMEOUT + DAMAGE_TIMEOUT + OPACITY_TIMEOUT + METADATA_TIMEOUT
WITHOUT_PIXEL_LIMIT = {"jpg", "webp", "svg", "pdf", "eps"}  # JPEG and WebP by contract, the others have no pixels
ERRORS_BY_REASON = {error.reason: error for error in (UnreadableImage, FormatNotAllowed)}

_pool = Pool(settings.PROBE_WORKERS, sandbox_required=settings.SANDBOX == "required")
_thumbnail_pool = Pool(
    settings.PROBE_WORKERS, sandbox_required=settings.SANDBOX == "required"
)  # separate, so that thumbnails never delay uploads
for _worker_pool in _pool, _thumbnail_pool:
    atexit.register(_worker_pool.close)
    os.register_at_fork(after_in_child=_worker_pool.detach)


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of probing. Width and height are those of the decoded image, 0 if it has none."""

    format: str
    mimetype: str
    width: int
    height: int
    opaque: bool
    animated: bool
    # Metadata of the file, by group; not part of its identity.
    static_metadata: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)
    # False if a worker was stopped before opacity or metadata was determined.
    complete: bool = field(default=True, compare=False)


def probe(
    path: str | os.PathLike[str],
    *,
    seconds: float = TOTAL_TIMEOUT,
    thorough: bool = False,
) -> Probe:
    """Probe the file.

    Raises UnreadableImage, FormatNotAllowed, TooManyPixels, ReadingInterrupted; Unavailable if all workers are busy.

    `seconds` limits the time of the workers, except for retries. A failed header request is retried alone; with
    `thorough`, other failed requests are, too.
    """
    deadline = time.monotonic() + seconds
    path = os.path.abspath(path)
    if os.path.getsize(path) == 0:
        raise FormatNotAllowed("The file is empty.")
    with _busy("Too many files are being read. Try again later."):
        header = _read_header(path, min(seconds, HEADER_TIMEOUT))
        _check_pixels(header)
        damaged: dict[str, Any] | None = {}
        if problem := header.pop("problem"):
            remaining = min(deadline - time.monotonic(), DAMAGE_TIMEOUT)
            damaged = _damage(path, header["format"], problem, remaining, insist=thorough)
        opaque, format = header["opaque"], header["format"]
        if opaque is None:  # decoded only after the pixel limit was checked
            remaining = min(deadline - time.monotonic(), OPACITY_TIMEOUT)
            opaque = _is_opaque(path, format, remaining, insist=thorough)
        remaining = min(deadline - time.monotonic(), METADATA_TIMEOUT)
        groups = _extract_metadata(path, format, remaining, insist=thorough)
    complete = None not in (opaque, groups, damaged)
    static_metadata = (groups or {}) | ({"damaged": damaged} if damaged else {})
    return Probe(**header | {"opaque": bool(opaque)}, static_metadata=static_metadata, complete=complete)


def dominant_colors(path: str | os.PathLike[str], format: str) -> list[str]:
    """The dominant colors, most frequent first; empty if decoding takes too much work.

    Raises Unavailable if all workers are busy, and ReadingInterrupted.
    """
    request = {"ask": "colors", "path": os.path.abspath(path), "format": format}
    with _busy("Too many files are being read. Try again later."):
        try:
            answer = _call_twice(_pool, request, COLORS_TIMEOUT)
        except WorkerDiedError:
            return []
    return [str(color) for color in answer["colors"]]


def render_thumbnail(path: str | os.PathLike[str], format: str, *, side: int, upright: bool) -> bytes | None:
    """A WebP thumbnail that fits into a square of `side` pixels; None if it can't be rendered.

    `upright` applies the EXIF orientation. Raises Unavailable if all workers are busy, and ReadingInterrupted.
    """
    request = {"ask": "thumbnail", "path": os.path.abspath(path), "format": format, "side": side, "upright": upright}
    with _busy("Too many thumbnails are being rendered. Try again later."):
        try:
            answer = _call_twice(_thumbnail_pool, request, THUMBNAIL_TIMEOUT)
        except WorkerDiedError:
            return None
    return base64.b64decode(answer["webp"]) if "webp" in answer else None


def check_sandbox() -> None:
    """Raises SandboxMissingError if SANDBOX=required and workers are not sandboxed."""
    _pool.check_sandbox()


def _call_twice(pool: Pool, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The response. Raises WorkerDiedError if the file is the cause, ReadingInterrupted if the cause is unknown.

    A worker may be killed because other processes used up the memory. So the request is retried while no other file is
    read in this process.
    """
    try:
        return pool.call(request, seconds=seconds)
    except WorkLimitError:
        raise
    except WorkerDiedError as error:
        log.warning("probe.reader_died", call=request["ask"], why=str(error))
    with _pool.call_exclusively(), _thumbnail_pool.call_exclusively():
        try:
            return pool.call_fresh_worker(request, seconds=FRESH_WORKER_TIMEOUT)
        except WorkerKilledError as error:
            log.warning("probe.reader_died_alone", call=request["ask"], why=str(error))
            raise ReadingInterrupted(
                f"The file could not be read completely: {error}. This may not be caused by the file. Try again later."
            ) from error


def _damage(path: str, format: str, problem: str, seconds: float, *, insist: bool) -> dict[str, Any] | None:
    """The missing parts of the image; empty if it is complete, None if unknown.

    Raises UnreadableImage if nothing can be decoded; for stored files (`insist`), that is reported as damage instead.
    If decoding takes too much work, only the end is reported as missing.
    """
    request = {"ask": "damage", "path": path, "format": format, "problem": problem}
    answer = _call(request, {"damaged": {"missing": "end"}}, seconds, insist=insist)
    if answer and "unreadable" in answer:
        if insist:
            return {"missing": "image"}
        raise UnreadableImage(answer["unreadable"])
    return None if answer is None else dict(answer.get("damaged", {}))


def _is_opaque(path: str, format: str, seconds: float, *, insist: bool) -> bool | None:
    """Return whether the image is opaque; None if unknown. If decoding takes too much work, it counts as not opaque."""
    request = {"ask": "opaque", "path": path, "format": format}
    answer = _call(request, {"opaque": False}, seconds, insist=insist)
    return None if answer is None else bool(answer["opaque"])


def _extract_metadata(path: str, format: str, seconds: float, *, insist: bool) -> dict[str, Any] | None:
    request = {"ask": "describe", "path": path, "format": format}
    answer = _call(request, {"groups": {}}, seconds, insist=insist)
    return None if answer is None else dict(answer["groups"])


def _call(request: dict[str, Any], otherwise: dict[str, Any], seconds: float, *, insist: bool) -> dict[str, Any] | None:
    """The response, or `otherwise` if the file has no answer; None if unknown, so that probing it again may help."""
    try:
        return _call_twice(_pool, request, seconds) if insist else _pool.call(request, seconds=seconds)
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
        header = _call_twice(_pool, {"ask": "header", "path": path}, seconds)
    except WorkerDiedError as error:
        raise UnreadableImage(f"The file can't be read: {error}.") from error
    if "error" in header:
        raise ERRORS_BY_REASON[header["error"]](header["message"])
    return header


def _check_pixels(header: dict[str, Any]) -> None:
    width, height, limit = header["width"], header["height"], settings.MAX_MEGAPIXELS
    if header["format"] not in WITHOUT_PIXEL_LIMIT and width * height > limit * 1_000_000:
        raise TooManyPixels(
            f"{width} × {height} is {width * height / 1_000_000:.4g} megapixels; the limit is {limit}.",
            width=width,
            height=height,
            limit=limit,
        )
