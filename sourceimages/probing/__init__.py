"""Probe files: format, dimensions, transparency and metadata, read by sandboxed worker processes."""

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings

from rokka.core.env import refuse_to_start
from rokka.core.errors import Unavailable
from sourceimages.errors import FormatNotAllowed, ReadingInterrupted, TooManyPixels, UnreadableImage

from .pool import (
    SHARES_MEMORY,
    Pool,
    PoolExhaustedError,
    ProbeWorker,
    SandboxMissingError,
    WorkerDiedError,
    WorkerKilledError,
    WorkLimitError,
)

__all__ = ["SHARES_MEMORY", "Probe", "SandboxMissingError", "check_sandbox", "dominant_colors", "probe"]

HEADER_TIMEOUT = 6.0  # format and dimensions; the worker itself limits CPU time
OPACITY_TIMEOUT = 3.0  # opacity, which can stay unknown
DAMAGE_TIMEOUT = 3.0  # missing parts of truncated files
METADATA_TIMEOUT = 2.0  # static metadata, which can stay unknown
COLORS_TIMEOUT = 5.0
FRESH_WORKER_TIMEOUT = 15.0  # second attempt of any request
FORMATS_WITH_COLORS = {"jpg", "png", "webp", "gif", "tif"}
TOTAL_TIMEOUT = HEADER_TIMEOUT + DAMAGE_TIMEOUT + OPACITY_TIMEOUT + METADATA_TIMEOUT
WITHOUT_PIXEL_LIMIT = {"jpg", "webp", "svg", "pdf", "eps"}  # JPEG and WebP by contract, the others have no pixels
ERRORS_BY_REASON = {error.reason: error for error in (UnreadableImage, FormatNotAllowed)}

_pool = Pool(settings.PROBE_WORKERS, ProbeWorker, sandbox_required=settings.SANDBOX == "required")
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.detach)


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
    source: str | os.PathLike[str] | bytes,
    *,
    seconds: float = TOTAL_TIMEOUT,
    thorough: bool = False,
) -> Probe:
    """Probe the file: its path, or its content if SHARES_MEMORY.

    Raises UnreadableImage, FormatNotAllowed, TooManyPixels, ReadingInterrupted; Unavailable if all workers are busy.

    `seconds` limits the time of the workers, except for retries. A failed header request is retried alone; with
    `thorough`, other failed requests are, too.
    """
    deadline = time.monotonic() + seconds
    file = {"content": source} if isinstance(source, bytes) else {"path": os.path.abspath(source)}
    if (len(source) if isinstance(source, bytes) else os.path.getsize(source)) == 0:
        raise FormatNotAllowed("The file is empty.")
    with _busy("Too many files are being read. Try again later."):
        answers = _Answers(file, deadline)
        header = _read_header(answers)
        _check_pixels(header)
        format = header["format"]
        damaged: dict[str, Any] | None = {}
        if problem := header.pop("problem"):
            damaged = _damage(answers, format, problem, insist=thorough)
        opaque = header["opaque"]
        if opaque is None:  # decoded only after the pixel limit was checked
            opaque = _is_opaque(answers, format, insist=thorough)
        groups = _extract_metadata(answers, format, insist=thorough)
    complete = None not in (opaque, groups, damaged)
    static_metadata = (groups or {}) | ({"damaged": damaged} if damaged else {})
    return Probe(**header | {"opaque": bool(opaque)}, static_metadata=static_metadata, complete=complete)


class _Answers:
    """The answers of the workers about one file. One worker is asked for all of them at once.

    If it dies, the error is raised for the answer that it owes. The answers after that are requested one by one.
    """

    def __init__(self, file: dict[str, Any], deadline: float) -> None:
        self.file, self.deadline = file, deadline
        self._parts: dict[str, dict[str, Any]] = {}
        self._error: WorkerDiedError | None = None
        request = {"ask": "probe", **file, "max_pixels": settings.MAX_MEGAPIXELS * 1_000_000}
        try:
            self._parts.update(_pool.call_in_parts(request, seconds=self.seconds))
        except WorkerDiedError as error:
            self._error = error

    def seconds(self, part: str) -> float:
        """The time that is left for this part."""
        limits = {"header": HEADER_TIMEOUT, "damage": DAMAGE_TIMEOUT, "opaque": OPACITY_TIMEOUT}
        return min(self.deadline - time.monotonic(), limits.get(part, METADATA_TIMEOUT))

    def first(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """The answer to the first attempt of a request. Raises WorkerDiedError."""
        if (answer := self._parts.pop(request["ask"], None)) is not None:
            return answer
        if error := self._error:
            self._error = None
            raise error
        return _pool.call(request, seconds=seconds)

    def get(
        self, ask: str, *, otherwise: dict[str, Any], insist: bool, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The answer, or `otherwise` if the file has none; None if unknown, so that probing it again may help."""
        request, seconds = {"ask": ask, **self.file, **options}, self.seconds(ask)
        try:
            return _call_twice(request, seconds, self.first) if insist else self.first(request, seconds=seconds)
        except WorkLimitError:
            return otherwise
        except WorkerDiedError:
            return otherwise if insist else None
        except ReadingInterrupted:
            return None


def dominant_colors(path: str | os.PathLike[str], format: str) -> list[str]:
    """The dominant colors, most frequent first; empty if decoding takes too much work.

    Raises Unavailable if all workers are busy, and ReadingInterrupted.
    """
    request = {"ask": "colors", "path": os.path.abspath(path), "format": format}
    with _busy("Too many files are being read. Try again later."):
        try:
            answer = _call_twice(request, COLORS_TIMEOUT, _pool.call)
        except WorkerDiedError:
            return []
    return [str(color) for color in answer["colors"]]


def check_sandbox() -> None:
    """Refuse to start if SANDBOX=required and workers are not sandboxed, or if they don't start."""
    try:
        _pool.check_sandbox()
    except (RuntimeError, WorkerDiedError, OSError) as error:
        refuse_to_start(str(error))


def _call_twice(request: dict[str, Any], seconds: float, first: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The response; `first` makes the first attempt.

    Raises WorkerDiedError if the file is the cause, ReadingInterrupted if the cause is unknown.

    A worker may be killed because other processes used up the memory. So the request is retried while no other file is
    read in this process.
    """
    try:
        return first(request, seconds=seconds)
    except WorkLimitError:
        raise
    except WorkerDiedError as error:
        log.warning("probe.reader_died", call=request["ask"], why=str(error))
    with _pool.call_exclusively():
        try:
            return _pool.call_fresh_worker(request, seconds=FRESH_WORKER_TIMEOUT)
        except WorkerKilledError as error:
            log.warning("probe.reader_died_alone", call=request["ask"], why=str(error))
            raise ReadingInterrupted(
                f"The file could not be read completely: {error}. This may not be caused by the file. Try again later."
            ) from error


def _damage(answers: _Answers, format: str, problem: str, *, insist: bool) -> dict[str, Any] | None:
    """The missing parts of the image; empty if it is complete, None if unknown.

    Raises UnreadableImage if nothing can be decoded; for stored files (`insist`), that is reported as damage instead.
    If decoding takes too much work, only the end is reported as missing.
    """
    options = {"format": format, "problem": problem}
    answer = answers.get("damage", otherwise={"damaged": {"missing": "end"}}, insist=insist, options=options)
    if answer and "unreadable" in answer:
        if insist:
            return {"missing": "image"}
        raise UnreadableImage(answer["unreadable"])
    return None if answer is None else dict(answer.get("damaged", {}))


def _is_opaque(answers: _Answers, format: str, *, insist: bool) -> bool | None:
    """Return whether the image is opaque; None if unknown. If decoding takes too much work, it counts as not opaque."""
    answer = answers.get("opaque", otherwise={"opaque": False}, insist=insist, options={"format": format})
    return None if answer is None else bool(answer["opaque"])


def _extract_metadata(answers: _Answers, format: str, *, insist: bool) -> dict[str, Any] | None:
    answer = answers.get("describe", otherwise={"groups": {}}, insist=insist, options={"format": format})
    return None if answer is None else dict(answer["groups"])


@contextmanager
def _busy(message: str) -> Iterator[None]:
    try:
        yield
    except PoolExhaustedError as error:
        raise Unavailable(message) from error


def _read_header(answers: _Answers) -> dict[str, Any]:
    try:
        header = _call_twice({"ask": "header", **answers.file}, answers.seconds("header"), answers.first)
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
