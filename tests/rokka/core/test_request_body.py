import io

import pytest

from rokka.core.request_body import MAX_DRAIN_BYTES, RequestBodyMiddleware

pytestmark = pytest.mark.any_database


def answer(body: bytes, *, read: int = 0, **environ: str) -> tuple[dict[str, str], int, str]:
    """Send a request; returns the response headers, the unread bytes of the body and Django's Content-Length."""
    stream = io.BytesIO(body)
    told, headers = [], {}

    def application(environ, start_response):
        told.append(environ.get("CONTENT_LENGTH", ""))
        environ["wsgi.input"].read(read)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b""]

    request = {"wsgi.input": stream, "SERVER_SOFTWARE": "Granian", "CONTENT_LENGTH": str(len(body))} | environ
    RequestBodyMiddleware(application, limit=5000)(request, lambda status, pairs, *rest: headers.update(pairs))
    return headers, len(body) - stream.tell(), told[0]


def test_a_small_body_is_read_so_that_the_connection_is_reused():
    headers, left, _ = answer(b"x" * 1000)
    assert "Connection" not in headers
    assert left == 0


def test_of_a_large_body_a_little_is_read_and_the_connection_closed():
    headers, left, _ = answer(b"x" * (3 * MAX_DRAIN_BYTES), read=10)
    assert headers["Connection"] == "close"
    assert left == 2 * MAX_DRAIN_BYTES - 10


def test_a_body_that_was_read_costs_nothing():
    headers, left, _ = answer(b"x" * (2 * MAX_DRAIN_BYTES), read=2 * MAX_DRAIN_BYTES)
    assert "Connection" not in headers
    assert left == 0


def test_a_rejected_body_is_not_requested_with_100_continue():
    headers, left, _ = answer(b"x" * 1000, HTTP_EXPECT="100-continue")
    assert headers["Connection"] == "close"
    assert left == 1000


def test_a_chunked_body_is_limited():
    _, left, told = answer(b"x" * 1000, HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH="")
    assert told == "5001"
    assert left == 0


@pytest.mark.parametrize("server", ["WSGIServer/0.2", "gunicorn/27.0", ""])
def test_other_servers_decide_on_connections_themselves(server):
    headers, _, _ = answer(b"x" * (3 * MAX_DRAIN_BYTES), SERVER_SOFTWARE=server)
    assert "Connection" not in headers
