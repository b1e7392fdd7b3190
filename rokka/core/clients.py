"""WSGI middleware for slow clients and large bodies: limits chunked bodies, closes connections instead of reading
rejected bodies to the end, and limits how many threads wait for clients (`transfers`).
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog

from rokka.core import slow_clients
from rokka.core.addresses import Network, forwarded_address, is_from_proxy
from rokka.core.errors import Unavailable
from rokka.core.http import error_body
from rokka.core.slots import NoSlot, Slot
from rokka.core.transfers import Transfers

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

# WSGI (PEP 3333) forbids hop-by-hop headers such as Connection, but granian honors this one.
CLOSE_HEADER_SERVER = "Granian"
MAX_DRAIN_BYTES = 1_000_000  # of a rejected body, so that the connection can be reused after a small one
BLOCK = 64 * 1024
SMALL = 256 * 1024  # bytes; buffers hold a streamed response of this size in any case
RETRY_SECONDS = 5

log = structlog.get_logger()


class TooManyTransfers(Unavailable):
    """Too many threads wait for slow clients. Try again later."""

    reason = "too_many_transfers"


class CountingInput:
    """A wrapper of `wsgi.input` that counts bytes read, and releases the slot of the body at its end."""

    def __init__(self, stream: Any, expected: int, slot: Slot | None) -> None:
        self.stream = stream
        self.expected = expected
        self.slot = slot
        self.count = 0
        self.at_eof = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.stream.read(size)
        self._received(data, size != 0)
        return data

    def readline(self, size: int = -1) -> bytes:
        data: bytes = self.stream.readline(size)
        self._received(data, True)
        return data

    @property
    def complete(self) -> bool:
        return self.at_eof or self.count >= self.expected

    def release(self) -> None:
        """Release the slot, once."""
        if self.slot:
            self.slot.release()
            self.slot = None

    def _received(self, data: bytes, wanted: bool) -> None:
        self.count += len(data)
        self.at_eof = self.at_eof or (not data and wanted)
        if self.complete:
            self.release()


class Streamed:
    """A streamed response that releases its slot when it is closed, which the server does in any case."""

    def __init__(self, blocks: Any, slot: Slot) -> None:
        self.blocks = blocks
        self.slot: Slot | None = slot

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        try:
            self.blocks.close()
        finally:
            if self.slot:
                self.slot.release()
                self.slot = None


class ClientMiddleware:
    """WSGI middleware around Django, which trusts Content-Length and doesn't support chunked bodies.

    A chunked body gets the limit plus one byte as its Content-Length, so that Django reads to its end or just over the
    limit. If the response starts before the body is read, up to MAX_DRAIN_BYTES of the rest are read; if there is more,
    the connection is closed.

    Requests with a body, unless the proxy has buffered it, and streamed responses above SMALL need a slot of
    `transfers`; without one, the response is 503 `too_many_transfers`. Clients that read streamed responses too slowly
    are disconnected (`slow_clients`).
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        limit: int,
        threads: int,
        trusted_proxies: Iterable[Network] = (),
        proxies_buffer_bodies: bool = False,
    ) -> None:
        self.application = application
        self.limit = limit
        self.transfers = Transfers(threads)
        self.trusted_proxies = list(trusted_proxies)
        self.proxies_buffer_bodies = proxies_buffer_bodies

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            environ["CONTENT_LENGTH"] = str(self.limit + 1)
            environ["rokka.chunked"] = True
        try:
            content_length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            content_length = 0
        address = forwarded_address(environ, self.trusted_proxies)
        try:
            slot = self.transfers.acquire(address) if content_length > 0 and not self._is_buffered(environ) else None
        except NoSlot as error:
            return self._refuse(error, environ, start_response)
        body = CountingInput(environ["wsgi.input"], content_length, slot)
        environ["wsgi.input"] = body
        started: list[tuple[Any, ...]] = []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if not self._finish(body, environ) and environ.get("SERVER_SOFTWARE") == CLOSE_HEADER_SERVER:
                headers = [*headers, ("Connection", "close")]
            body.release()
            started[:] = [(status, headers, *rest)]

        try:
            answer = self.application(environ, start)
        finally:
            body.release()
        if _is_slow(answer):
            try:
                slot = self.transfers.acquire(address)
            except NoSlot as error:
                answer.close()  # type: ignore[attr-defined]
                return self._refuse(error, environ, start_response)
            slow_clients.watch(int(environ.get("SERVER_PORT") or 0))
            answer = Streamed(answer, slot)
        elif not getattr(answer, "streaming", True):
            blocks = list(answer)
            answer.close()  # type: ignore[attr-defined]
            answer = blocks  # granian sends a list without calling Python again
        start_response(*started[0])
        return answer

    def _is_buffered(self, environ: Environ) -> bool:
        """Whether a proxy has received the whole body before it sends it, fast."""
        return self.proxies_buffer_bodies and is_from_proxy(environ, self.trusted_proxies)

    def _refuse(self, error: NoSlot, environ: Environ, start_response: StartResponse) -> list[bytes]:
        log.warning("transfers.refused", limit_of=error.share.owner, limit=error.share.limit)
        message = (
            f"{error.share.limit} slow transfers are in progress, the limit for {error.share.owner}. "
            f"Try again in {RETRY_SECONDS} seconds."
        )
        content = json.dumps(error_body(503, message, TooManyTransfers.reason)).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Retry-After", str(RETRY_SECONDS)),
            ("Cache-Control", "no-store"),
            ("Access-Control-Allow-Origin", "*"),
        ]
        if environ.get("SERVER_SOFTWARE") == CLOSE_HEADER_SERVER:
            headers.append(("Connection", "close"))
        start_response("503 Service Unavailable", headers)
        return [content]

    def _finish(self, body: CountingInput, environ: Environ) -> bool:
        """Read up to MAX_DRAIN_BYTES of the rest. Returns whether the body was read completely."""
        if environ.get("HTTP_EXPECT") and body.count == 0 and body.expected:
            return False  # reading would request the body with "100 Continue"
        drain_limit = body.count + MAX_DRAIN_BYTES
        while not body.complete and body.count < drain_limit:
            body.read(min(BLOCK, body.expected - body.count, drain_limit - body.count))
        return body.complete


def _is_slow(answer: Any) -> bool:
    """Whether a thread could wait for the client while it sends this response of Django."""
    if not getattr(answer, "streaming", False) or answer.has_header("X-Accel-Redirect"):
        return False
    length = answer.get("Content-Length", "")
    return not (length.isdigit() and int(length) <= SMALL)
