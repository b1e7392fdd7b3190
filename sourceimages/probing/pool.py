"""The children that read files: a few, kept warm, replaced when they die.

Not a ProcessPoolExecutor: one killed child breaks that for good, and here children are expected to be killed.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import IO, Any, cast

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-s", "-m", "readers")
ENVIRONMENT = {  # all of it: no secret of ours is there to be found
    "PYTHONPATH": str(Path(__file__).parent),
    "PYTHONUTF8": "1",
    "MALLOC_ARENA_MAX": "2",  # threads take from the little address space there is
    "VIPS_CONCURRENCY": "1",
}
START_TIMEOUT = 20
CHECKOUT_TIMEOUT = 30  # for a child to become free
MAX_RESPONSE_BYTES = 1024 * 1024
EXTERNAL_SIGNALS = {
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGBUS,
}  # SIGBUS: a disk failed
MAX_REQUESTS = 3000  # after which a child is replaced: libraries forget to give back what they have taken


class WorkerDiedError(Exception):
    """The child that was working on a request is gone, and why. A crash may be the doing of the file, or not."""


class WorkLimitError(WorkerDiedError):
    """The file takes more computing than it is allowed: it would again."""


class WorkerKilledError(WorkerDiedError):
    """It was ended by something else: killed from outside, as when memory runs out, or the clock ran out on it.

    The clock is no measure of the file: what a file may cost is limited in seconds of computing.
    """


class PoolExhaustedError(Exception):
    """All children were at work, for as long as anybody may wait."""


class SandboxMissingError(RuntimeError):
    """SANDBOX=required, and this machine cannot do it."""


class Worker:
    def __init__(self, command: Sequence[str] = COMMAND, *, files: Sequence[int] = ()) -> None:
        """`files` are the descriptors of open files that it gets, under the same numbers."""
        self._process = subprocess.Popen(  # noqa: S603, the command is ours
            command,
            pass_fds=files,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the server, which ends its children itself
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
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
        self.requests += 1
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._exit_reason() from None
        return self._read_response(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.detach()

    def detach(self) -> None:
        """Close our ends of the pipes. If nobody else has them open the child ends by itself."""
        self._requests.close()
        self._answers.close()

    def _read_response(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not self._readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise WorkerKilledError(f"reading it took more than {seconds:g} seconds")
            block = os.read(self._answers.fileno(), MAX_RESPONSE_BYTES)
            if not block:
                raise self._exit_reason()
            line += block
            if len(line) > MAX_RESPONSE_BYTES:
                raise WorkerDiedError("reading it went wrong")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise WorkerDiedError("reading it went wrong") from None
        return answer

    def _exit_reason(self) -> WorkerDiedError:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it lives, but has closed its end of the pipe
            return WorkerDiedError("its reader fell silent")
        if code == -signal.SIGXCPU:
            return WorkLimitError("reading it took too much computing time")
        kind = WorkerKilledError if -code in EXTERNAL_SIGNALS else WorkerDiedError
        return kind(f"its reader died ({signal.strsignal(-code) if code < 0 else code})")


class Pool:
    """Hands requests to children, from any thread. Children start when they are first needed."""

    def __init__(
        self,
        size: int,
        *,
        sandbox_required: bool = False,
        command: Sequence[str] = COMMAND,
        patience: float = CHECKOUT_TIMEOUT,
    ) -> None:
        self._size = size
        self._patience = patience
        self._sandbox_required = sandbox_required
        self._command = command
        self._warned = False
        self._open()

    def call(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """The answer to a request, or ChildDiedError, after which the next request finds a new child.

        BusyError if no child became free in time.
        """
        with self._checkout() as child:
            return child.call(request, seconds=seconds)

    @contextmanager
    def call_exclusively(self) -> Iterator[None]:
        """While no child of this pool is at work. BusyError if those that are do not end in time."""
        exclusive, places = self._exclusive, self._slots
        taken: list[Worker | None] = []
        deadline = time.monotonic() + self._patience
        if not exclusive.acquire(timeout=self._patience):
            raise PoolExhaustedError("another file is being read alone")
        try:
            while len(taken) < self._size:
                taken.append(places.get(timeout=max(0.01, deadline - time.monotonic())))
            yield
        except Empty:
            raise PoolExhaustedError("no reader became free") from None
        finally:
            for child in taken:
                places.put(child)
            exclusive.release()

    def call_fresh_worker(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """The same as `ask` with a child that has read nothing else, and will not. Meant for `alone`."""
        child = self._start()
        try:
            return child.call(request, seconds=seconds)
        finally:
            self._discard(child)

    def check_sandbox(self) -> None:
        """Raise SandboxMissingError if a sandbox is required and a child could still open a socket."""
        with self._checkout():
            pass

    def close(self) -> None:
        for child in list(self._children):
            child.kill()
        self._open()

    def detach(self) -> None:
        """In a process that was forked from ours: leave the children to the parent, and start with none."""
        for child in list(self._children):
            child.detach()
        self._open()

    def _open(self) -> None:
        self._children: set[Worker] = set()
        self._exclusive = Lock()  # of the one that reads alone
        self._slots: LifoQueue[Worker | None] = LifoQueue()  # last in, first out: a child that is warm
        for _ in range(self._size):
            self._slots.put(None)

    @contextmanager
    def _checkout(self) -> Iterator[Worker]:
        places = self._slots
        try:
            child = places.get(timeout=self._patience)
        except Empty:
            raise PoolExhaustedError("no reader became free") from None
        try:
            # The system may have ended it while it had nothing to do.
            if child is not None and (child.should_recycle or not child.alive):
                self._discard(child)
                child = None
            if child is None:
                child = self._start()
            yield child
        except BaseException:
            # Whatever went wrong, an answer may still be on its way, and would be taken for that to the next request.
            if child is not None:
                self._discard(child)
                child = None
            raise
        finally:
            places.put(child)

    def _start(self) -> Worker:
        try:
            child = Worker(self._command)
        except WorkerKilledError:  # for its memory, say, as may happen at any time
            raise
        except WorkerDiedError as error:
            raise RuntimeError(f"The process that reads files does not start: {error}") from error
        self._children.add(child)
        if not child.sandboxed:
            if self._sandbox_required:
                self._discard(child)
                raise SandboxMissingError(
                    "SANDBOX=required, but a process that reads files could still open a socket. "
                    "It needs a kernel with seccomp and the library libseccomp.so.2."
                )
            if not self._warned:
                self._warned = True
                logger.warning("Files are read in limited processes, but without seccomp: the network stays open.")
        return child

    def _discard(self, child: Worker) -> None:
        self._children.discard(child)
        child.kill()
