"""A local web server whose responses are correct, malformed, slow or endless, depending on the path."""

import gzip
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

from tests.support import images

HERE = "127.0.0.5"  # the only address that tests allow; 127.0.0.1 must stay unreachable
IMAGE = images.png(30, 20)


class Handler(BaseHTTPRequestHandler):
    """Responds by path. `/redirect` redirects to the URL in the query."""

    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.server.seen.append(dict(self.headers))  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        match path:
            case "/gzip.png":
                self.answer(gzip.compress(IMAGE), **{"Content-Encoding": "gzip"})
            case "/bomb.png":
                self.answer(gzip.compress(bytes(20_000_000)), **{"Content-Encoding": "gzip"})
            case "/large.png":
                self.answer(b"", length=10_000_000)
            case "/cut.png":
                self.answer(IMAGE, length=len(IMAGE) + 1)
            case "/missing.png":
                self.send_error(404)
            case "/endless.png":
                self.endless(bytes(65536), pause=0)
            case "/slow.png":
                self.endless(b"x", pause=0.1)
            case "/slow-headers.png":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                self.drip(b"x", pause=0.1)
            case "/nonsense.png":
                self.wfile.write(b"this is not HTTP\r\n\r\n")
            case "/cut-gzip.png":
                self.answer(gzip.compress(IMAGE)[:-12] + b"x" * 12, **{"Content-Encoding": "gzip"})
            case "/hang-up.png":
                self.close_connection = True
            case "/early.png":
                for interim in (b"100 Continue\r\n", b"102 Processing\r\n", b"103 Early Hints\r\nLink: </a.css>\r\n"):
                    self.wfile.write(b"HTTP/1.1 " + interim + b"\r\n")
                self.answer(IMAGE)
            case "/always-early.png":
                self.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0)
            case "/upgrade.png":
                self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
            case "/named/from-path.png":
                self.answer(IMAGE, **{"Content-Disposition": unquote(query, "latin-1")})
            case "/slow-start.png":
                time.sleep(0.5)
                self.endless(b"x" * 5000, pause=0.1)
            case "/redirect":
                self.send_response(302)
                self.send_header("Location", unquote(query, "latin-1"))
                self.end_headers()
            case _:
                self.answer(IMAGE)

    def answer(self, content: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def endless(self, chunk: bytes, *, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip(chunk, pause=pause)

    def drip(self, chunk: bytes, *, pause: float) -> None:
        try:
            while True:
                self.wfile.write(chunk)
                time.sleep(pause)
        except OSError:
            pass  # the client has disconnected

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer((HERE, 0), Handler)
    server.daemon_threads = True
    server.seen = []  # type: ignore[attr-defined]
    server.paths = []  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
