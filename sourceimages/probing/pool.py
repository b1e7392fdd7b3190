"""Probe workers: a pool of warm child processes, replaced when they die.

ProcessPoolExecutor does not fit: it breaks when one child is killed, and here children are expected to be killed.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import IO, Any, Generic, TypeVar, cast

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-s", "-m", "readers")
ENVIRONMENT = {  # the whole environment: secrets must not reach workers
    "PYTHONPATH": str(Path(__file__).parent),
    "PYTHONUTF8": "1",
    "MALLOC_ARENA_MAX": "2",  # each arena takes address space, which is limited
    "VIPS_CONCURRENCY": "1",
}
START_TIMEOUT = 20
CHECKOUT_TIMEOUT = 30  # until a worker becomes free
MAX_RESPONSE_BYTES = 1024 * 1024
READ_BYTES = 16 * 1024  # most responses are shorter
EXTERNAL_SIGNALS = {
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGBUS,
}  # SIGBUS: the disk failed
SHARES_MEMORY = hasattr(os, "memfd_create")  # on Linux
MAX_REQUESTS = 3000  # then the worker is replaced: libraries leak memory


class WorkerDiedError(Exception):
    """The worker died during a request; the message says why. The file may be the cause, or not."""


class WorkLimitError(WorkerDiedError):
    """Reading the file exceeds the limit of CPU time. It would again."""


class WorkerKilledError(WorkerDiedError):
    """The worker was ended from outside, for example by the OOM killer."""


class WorkerTimeoutError(WorkerKilledError):
    """The worker did not respond in time, although it was within its limit of CPU time: the machine is busy."""


class PoolExhaustedError(Exception):
    """All workers are busy, and none became free in time."""


class SandboxMissingError(RuntimeError):
    """SANDBOX=required, but this machine does not support it."""


class Worker:
    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        environment: Mapping[str, str] = ENVIRONMENT,
        files: Sequence[int] = (),
    ) -> None:
        """`files` are descriptors of open files that the worker inherits under the same numbers."""
        self._process = subprocess.Popen(  # noqa: S603, the command is ours
            command,
            pass_fds=files,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=environment,
            start_new_session=True,  # Ctrl-C goes to the server, which stops its workers itself
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        self._received = b""  # of the next response
        self.requests = 0
        self._readable = select.poll()
        self._readable.register(self._answers, select.POLLIN)
        try:
            self.sandboxed = bool(self._read_response(START_TIMEOUT)["sandboxed"])
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def should_recycle(self) -> bool:
        return self.requests >= MAX_REQUESTS

    def call(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        self._send(request)
        answer = self._read_response(seconds)
        self._check_end()
        return answer

    def call_in_parts(
        self, request: dict[str, Any], *, seconds: Callable[[str], float]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The parts of a response by name, of which "header" is the first; `seconds` is the limit of time for a part.

        The field `next` of a part names the one that follows.
        """
        self._send(request)
        part = "header"
        while part:
            answer = self._read_response(seconds(part))
            following = answer.pop("next", "")
            yield part, answer
            part = following
        self._check_end()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.detach()

    def detach(self) -> None:
        """Close our ends of the pipes. The worker exits unless another process has them open."""
        self._requests.close()
        self._answers.close()

    def _send(self, request: dict[str, Any]) -> None:
        self.requests += 1
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._exit_reason() from None

    def _read_response(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            if not self._readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise WorkerTimeoutError(f"reading took longer than {seconds:g} seconds")
            block = os.read(self._answers.fileno(), READ_BYTES)
            if not block:
                raise self._exit_reason()
            self._received += block
            if len(self._received) > MAX_RESPONSE_BYTES:
                raise WorkerDiedError("the reader sent an invalid response")
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise WorkerDiedError("the reader sent an invalid response") from None
        return answer

    def _check_end(self) -> None:
        """What is left would be taken for the response to the next request."""
        if self._received:
            raise WorkerDiedError("the reader sent an invalid response")

    def _exit_reason(self) -> WorkerDiedError:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # alive, but its end of the pipe is closed
            return WorkerDiedError("the reader stopped responding")
        if code == -signal.SIGXCPU:
            return WorkLimitError("reading exceeded the limit of CPU time")
        kind = WorkerKilledError if -code in EXTERNAL_SIGNALS else WorkerDiedError
        return kind(f"the reader died ({signal.strsignal(-code) if code < 0 else code})")


class ProbeWorker(Worker):
    """A worker that can also be sent a file, as `content` instead of `path`, in memory that it inherits."""

    def __init__(self) -> None:
        self._memory = os.memfd_create("content") if SHARES_MEMORY else None
        try:
            super().__init__(files=[] if self._memory is None else [self._memory])
        except BaseException:
            self._close_memory()
            raise

    def detach(self) -> None:
        super().detach()
        self._close_memory()

    def _send(self, request: dict[str, Any]) -> None:
        if "content" in request:
            request = {**request, "path": self._share(request["content"])}
            del request["content"]
        super()._send(request)

    def _share(self, content: bytes) -> str:
        """The path under which the worker finds the content, until the next one is shared."""
        assert self._memory is not None  # noqa: S101 (checked by callers with SHARES_MEMORY)
        view, written = memoryview(content), 0
        while written < len(content):
            written += os.pwrite(self._memory, view[written:], written)
        os.ftruncate(self._memory, len(content))
        return f"/proc/self/fd/{self._memory}"

    def _close_memory(self) -> None:
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


W = TypeVar("W", bound=Worker)


class Pool(Generic[W]):
    """Thread-safe pool of workers. Workers start on first use."""

    def __init__(
        self,
        size: int,
        start_worker: Callable[[], W],
        *,
        sandbox_required: bool = False,
        checkout_timeout: float = CHECKOUT_TIMEOUT,
    ) -> None:
        self._size = size
        self._checkout_timeout = checkout_timeout
        self._sandbox_required = sandbox_required
        self._start_worker = start_worker
        self._warned = False
        self._open()

    def call(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """The response to a request. Raises WorkerDiedError; the next request then gets a new worker.

        Raises PoolExhaustedError if no worker became free in time.
        """
        with self.checkout() as worker:
            return worker.call(request, seconds=seconds)

    def call_in_parts(
        self, request: dict[str, Any], *, seconds: Callable[[str], float]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Like `call`, for `Worker.call_in_parts`."""
        with self.checkout() as worker:
            yield from worker.call_in_parts(request, seconds=seconds)

    @contextmanager
    def call_exclusively(self) -> Iterator[None]:
        """Context in which no worker of this pool is busy.

        Raises PoolExhaustedError if the busy ones do not finish in time.
        """
        exclusive, slots = self._exclusive, self._slots
        acquired: list[W | None] = []
        deadline = time.monotonic() + self._checkout_timeout
        if not exclusive.acquire(timeout=self._checkout_timeout):
            raise PoolExhaustedError("another file is being read exclusively")
        try:
            while len(acquired) < self._size:
                acquired.append(slots.get(timeout=max(0.01, deadline - time.monotonic())))
            yield
        except Empty:
            raise PoolExhaustedError("no reader became free") from None
        finally:
            for worker in acquired:
                slots.put(worker)
            exclusive.release()

    def call_fresh_worker(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Like `call`, with a new worker that serves only this request. Meant for use within `call_exclusively`."""
        worker = self._start()
        try:
            return worker.call(request, seconds=seconds)
        finally:
            self._discard(worker)

    def check_sandbox(self) -> None:
        """Raises SandboxMissingError if a sandbox is required and a worker can open sockets."""
        with self.checkout():
            pass

    def close(self) -> None:
        for worker in list(self._children):
            worker.kill()
        self._open()

    def detach(self) -> None:
        """After a fork: leave the workers to the parent process and start without any."""
        for worker in list(self._children):
            worker.detach()
        self._open()

    def _open(self) -> None:
        self._children: set[W] = set()
        self._exclusive = Lock()  # held during exclusive calls
        self._slots: LifoQueue[W | None] = LifoQueue()  # LIFO, to reuse warm workers
        for _ in range(self._size):
            self._slots.put(None)

    @contextmanager
    def checkout(self) -> Iterator[W]:
        """A worker for the context's use alone. It is discarded if the context raises.

        Raises PoolExhaustedError if no worker became free in time.
        """
        slots = self._slots
        try:
            worker = slots.get(timeout=self._checkout_timeout)
        except Empty:
            raise PoolExhaustedError("no reader became free") from None
        try:
            # The system may have ended it while it was idle.
            if worker is not None and (worker.should_recycle or not worker.alive):
                self._discard(worker)
                worker = None
            if worker is None:
                worker = self._start()
            yield worker
        except BaseException:
            # After any error, a response may still arrive, and would be taken for the response to the next request.
            if worker is not None:
                self._discard(worker)
                worker = None
            raise
        finally:
            slots.put(worker)

    def _start(self) -> W:
        try:
            worker = self._start_worker()
        except WorkerKilledError:  # killed for memory, for example, which can happen at any time
            raise
        except WorkerDiedError as error:
            raise RuntimeError(f"The worker process that reads files does not start: {error}") from error
        self._children.add(worker)
        if not worker.sandboxed:
            if self._sandbox_required:
                self._discard(worker)
                raise SandboxMissingError(
                    "SANDBOX=required, but a worker process can open sockets. "
                    "Sandboxing needs a kernel with seccomp and the library libseccomp.so.2."
                )
            if not self._warned:
                self._warned = True
                logger.warning("Sandbox: seccomp is not available; probe workers can open sockets.")
        return worker

    def _discard(self, worker: W) -> None:
        self._children.discard(worker)
        worker.kill()
