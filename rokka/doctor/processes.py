"""Workers that read untrusted files, and their decoders. A worker is started and asked whether its sandbox is closed.

It tests this itself, by opening a socket, because some containers ignore the filter.
"""

from collections.abc import Callable, Iterator

from django.conf import settings

from rendering.pool import RenderWorker
from rokka.doctor.findings import Finding, error, ok, warning
from sourceimages.formats import DECODERS, UNDECODABLE
from sourceimages.probing.pool import Worker


def check_probe_worker() -> Iterator[Finding]:
    yield sandbox_finding(Worker)


def check_render_worker() -> Iterator[Finding]:
    yield sandbox_finding(RenderWorker)


def check_decoders() -> Iterator[Finding]:
    """Optional packages, without which images of a format are stored, but not shown."""
    for format, module in DECODERS.items():
        if format in UNDECODABLE:
            yield warning(
                f"{format} can't be decoded, so it has no renders and previews: the package "
                f"{module.replace('_', '-')} is not installed. See requirements-heic.txt."
            )
        else:
            yield ok(f"{format} can be decoded")


def sandbox_finding(start: Callable[[], Worker]) -> Finding:
    worker = start()
    try:
        sandboxed = worker.sandboxed
    finally:
        worker.kill()
    if sandboxed:
        return ok("a worker was started; it has no network")
    message = "A worker can open sockets. Sandboxing needs a kernel with seccomp and the library libseccomp.so.2."
    return error(message) if settings.SANDBOX == "required" else warning(message)
