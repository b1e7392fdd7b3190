"""WSGI middleware for request bodies: limits chunked bodies, and does not read rejected bodies to the end."""

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

# WSGI (PEP 3333) forbids hop-by-hop headers such as Connection, but granian honors this one.
CLOSE_HEADER_SERVER = "Granian"
MAX_DRAIN_BYTES = 1_000_000  # of a rejected body, so that the connection can be reused after a small one
BLOCK = 64 * 1024


class CountingInput:
    """A wrapper of `wsgi.input` that counts bytes read and notices the end."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.count = 0
        self.at_eof = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.stream.read(size)
        self.count += len(data)
        self.at_eof = self.at_eof or (not data and size != 0)
        return data

    def readline(self, size: int = -1) -> bytes:
        data: bytes = self.stream.readline(size)
        self.count += len(data)
        self.at_eof = self.at_eof or not data
        return data


class RequestBodyMiddleware:
    """WSGI middleware around Django, which trusts Content-Length and doesn't support chunked bodies.

    A chunked body gets the limit plus one byte as its Content-Length, so that Django reads to its end or just over the
    limit. If the response starts before the body is read, up to MAX_DRAIN_BYTES of the rest are read; if there is more,
    the connection is closed.
    """

    def __init__(self, application: WSGIApplication, *, limit: int) -> None:
        self.application = application
        self.limit = limit

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = CountingInput(environ["wsgi.input"])
        environ["wsgi.input"] = body
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            environ["CONTENT_LENGTH"] = str(self.limit + 1)
            environ["rokka.chunked"] = True
        try:
            content_length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            content_length = 0

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if (
                not self._finish(body, content_length, environ)
                and environ.get("SERVER_SOFTWARE") == CLOSE_HEADER_SERVER
            ):
                headers = [*headers, ("Connection", "close")]
            return start_response(status, headers, *rest)

        return self.application(environ, start)

    def _finish(self, body: CountingInput, content_length: int, environ: Environ) -> bool:
        """Read up to MAX_DRAIN_BYTES of the rest. Returns whether the body was read completely."""
        if environ.get("HTTP_EXPECT") and body.count == 0 and content_length:
            return False  # reading would request the body with "100 Continue"
        drain_limit = body.count + MAX_DRAIN_BYTES
        while body.count < content_length and not body.at_eof and body.count < drain_limit:
            body.read(min(BLOCK, content_length - body.count, drain_limit - body.count))
        return body.at_eof or body.count >= content_length
