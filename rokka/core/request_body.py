"""Request bodies as WSGI leaves them: chunked ones get a bound, refused ones are not read to their end."""

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

# WSGI (PEP 3333) leaves connections to the server, and others refuse to hear of them; granian takes our word for it.
CLOSE_HEADER_SERVER = "Granian"
MAX_DRAIN_BYTES = 1_000_000  # bytes of a refused body that are read, so that a small one does not cost the connection
BLOCK = 64 * 1024


class CountingInput:
    """`wsgi.input`, remembering how much was read and whether the end was seen."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.count = 0
        self.ended = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.stream.read(size)
        self.count += len(data)
        self.ended = self.ended or (not data and size != 0)
        return data

    def readline(self, size: int = -1) -> bytes:
        data: bytes = self.stream.readline(size)
        self.count += len(data)
        self.ended = self.ended or not data
        return data


class RequestBodyMiddleware:
    """Around Django, which trusts Content-Length and knows no chunked bodies.

    A chunked body is given the largest length that is allowed: Django reads until its end, and no further than one
    byte over the limit. When an answer starts before the body was read, a little of the rest is read, and if there
    is more, the connection is closed.
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
            announced = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            announced = 0

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if not self._finish(body, announced, environ) and environ.get("SERVER_SOFTWARE") == CLOSE_HEADER_SERVER:
                headers = [*headers, ("Connection", "close")]
            return start_response(status, headers, *rest)

        return self.application(environ, start)

    def _finish(self, body: CountingInput, announced: int, environ: Environ) -> bool:
        """Read a little of what is left; True if nothing is left then."""
        if environ.get("HTTP_EXPECT") and body.count == 0 and announced:
            return False  # the client waits to be asked for the body: reading would ask for it
        allowed = body.count + MAX_DRAIN_BYTES
        while body.count < announced and not body.ended and body.count < allowed:
            body.read(min(BLOCK, announced - body.count, allowed - body.count))
        return body.ended or body.count >= announced
