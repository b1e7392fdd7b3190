"""Render workers: sandboxed child processes, each with a memory file into which it writes its results.

They are separate from the probe workers, so that no upload waits for a render. A render can't be interrupted inside
libvips, so a worker that takes too long is killed.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import structlog
from django.conf import settings

from rendering.cache import memory_draft
from rendering.errors import RenderQueueFull, RenderTimeout, RenderTooLarge, RenderTooSlow
from rendering.painters import COMMAND, ENVIRONMENT
from sourceimages.probing.pool import (
    Pool,
    PoolExhaustedError,
    Worker,
    WorkerDiedError,
    WorkerTimeoutError,
    WorkLimitError,
)

LIGHT_SECONDS = 15  # of CPU time
HEAVY_SECONDS = 60
PATTERN_SECONDS = 1
CLOCK_SECONDS = 10  # more than of CPU time, as other processes need the processor too
CHECKOUT_TIMEOUT = 25  # seconds a request waits for a worker
ATTEMPTS = 2

log = structlog.get_logger()


class RenderInterrupted(Exception):
    """The worker died twice. The message says why; the source may be the cause, or not."""


class RenderWorker(Worker):
    """A worker that writes results into `output`, a memory file that both processes have open."""

    def __init__(self) -> None:
        self.output = os.memfd_create("render")
        try:
            command = (*COMMAND, str(self.output))
            super().__init__(command, environment=ENVIRONMENT, files=[self.output])
        except BaseException:
            self._close_output()
            raise

    def detach(self) -> None:
        super().detach()
        self._close_output()

    def _close_output(self) -> None:
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def copy_output(self, size: int, target: IO[bytes]) -> IO[bytes]:
        """Copy the result (bytes) to a file, and return it; into memory if the disk of `target` is full."""
        try:
            self._send_output(size, target)
        except OSError as error:
            log.warning("render.not_cached", why=str(error))
            target = memory_draft()
            self._send_output(size, target)
        return target

    def _send_output(self, size: int, target: IO[bytes]) -> None:
        """Copy within the kernel."""
        position = 0
        while position < size:
            copied = os.sendfile(target.fileno(), self.output, position, size - position)
            if copied == 0:
                raise WorkerDiedError("the result is shorter than announced")
            position += copied


_pool = Pool(
    settings.RENDER_WORKERS,
    RenderWorker,
    sandbox_required=settings.SANDBOX == "required",
    checkout_timeout=CHECKOUT_TIMEOUT,
)
_heavy = threading.BoundedSemaphore(max(1, settings.RENDER_WORKERS // 2))
# Requests that render or wait for a render; the other threads stay free for cached results and the API.
_waiting = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.detach)


@contextmanager
def admission(seconds: float = 0) -> Iterator[None]:
    """Context of a request that renders or waits for a render.

    Raises RenderQueueFull if there are too many, and none finishes within these seconds.
    """
    if not _waiting.acquire(timeout=seconds):
        limit = max(1, settings.WEB_THREADS // 2)
        raise RenderQueueFull(
            f"{limit} requests are rendering or waiting for a render. Try again in a second.", seconds=1, limit=limit
        )
    try:
        yield
    finally:
        _waiting.release()


def matches(patterns: Sequence[str], text: str) -> bool:
    """Return whether one of the regular expressions is found in the text.

    In a worker: some expressions take longer than any request may, and block all threads of the process meanwhile.
    Raises RenderTooLarge, RenderTimeout, RenderQueueFull, RenderInterrupted.
    """
    with admission(), memory_draft() as target:
        recipe = {"patterns": list(patterns), "text": text}
        answer, _ = render(recipe, target, heavy=False, seconds=PATTERN_SECONDS)
    return answer.get("found") is True


def render(
    recipe: Mapping[str, Any], target: IO[bytes], *, heavy: bool, seconds: int | None = None
) -> tuple[dict[str, Any], IO[bytes]]:
    """Render the recipe; return the worker's answer and the result: `target`, or a draft in memory if it is full.

    Raises RenderTooLarge if it takes too much CPU time, RenderTooSlow if it takes too long nevertheless, RenderTimeout
    if no worker is free, RenderInterrupted.
    """
    seconds = seconds or (HEAVY_SECONDS if heavy else LIGHT_SECONDS)
    request = {**recipe, "seconds": seconds}
    deadline = time.monotonic() + CHECKOUT_TIMEOUT
    with _lane(heavy, deadline):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with _pool.checkout() as worker:
                    answer = worker.call(request, seconds=seconds + CLOCK_SECONDS)
                    if "error" not in answer:
                        target = worker.copy_output(answer["bytes"], target)
                    return answer, target
            except PoolExhaustedError:
                raise _no_worker() from None
            except WorkLimitError as error:
                raise RenderTooLarge(
                    f"Rendering takes more than {seconds} seconds of CPU time. Use a smaller size or fewer operations."
                ) from error
            except WorkerTimeoutError as error:  # a second attempt would take as long
                limit = seconds + CLOCK_SECONDS
                raise RenderTooSlow(
                    f"Rendering took longer than {limit} seconds. Try again later, or ask for a smaller size."
                ) from error
            except WorkerDiedError as error:
                log.warning("render.worker_died", attempt=attempt, why=str(error))
                target.seek(0)
                target.truncate()
                reason = str(error)
    raise RenderInterrupted(reason)


@contextmanager
def _lane(heavy: bool, deadline: float) -> Iterator[None]:
    """Heavy renders use at most half of the workers, so that light ones never wait for all of them."""
    if not heavy:
        yield
        return
    if not _heavy.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise _no_worker()
    try:
        yield
    finally:
        _heavy.release()


def _no_worker() -> RenderTimeout:
    return RenderTimeout(f"No render worker became free within {CHECKOUT_TIMEOUT} seconds. Try again later.")
