"""Request bodies of all kinds, and the number of threads that wait for clients."""

import io
import json
import time
from ipaddress import ip_network
from threading import Timer
from weakref import WeakKeyDictionary

import pytest
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from rokka.core import slots, transfers
from rokka.core.clients import MAX_DRAIN_BYTES, ClientMiddleware

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
    ClientMiddleware(application, limit=5000, threads=4)(request, lambda status, pairs, *rest: headers.update(pairs))
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


# --- Threads that wait for clients ------------------------------------------------------------------------------------


class Django:
    """An application that answers after it has read `read` bytes of the body."""

    def __init__(
        self, *, read: int = 0, response: HttpResponseBase | None = None, error: Exception | None = None
    ) -> None:
        self.read, self.response, self.error, self.calls = read, response, error, 0
        self.in_use: list[int] = []

    def __call__(self, environ, start_response):
        self.calls += 1
        self.in_use.append(slots._in_use["transfers"])
        environ["wsgi.input"].read(self.read)
        self.in_use.append(slots._in_use["transfers"])
        if self.error:
            raise self.error
        response = self.response or HttpResponse(b"")
        start_response(f"{response.status_code} OK", list(response.items()))
        return response


@pytest.fixture(autouse=True)
def no_slot_is_left(monkeypatch):
    monkeypatch.setattr(request_finished, "receivers", [])  # they close connections to the database
    monkeypatch.setattr(request_finished, "sender_receivers_cache", WeakKeyDictionary())
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 0.1)
    yield
    assert not slots._in_use


@pytest.fixture
def busy(monkeypatch):
    """Takes slots of 16 threads: eight in all, six per address."""
    taken = []

    def take(count: int, address: str) -> None:
        taken.extend(transfers.Transfers(16).acquire(address) for _ in range(count))

    yield take
    for slot in taken:
        slot.release()


def ask(application, *, body: bytes = b"", address: str = "192.0.2.1", buffered: bool = False, **environ: str):
    """The status, the headers and the body of a response."""
    got = {}

    def start(status, headers):
        got.update(status=int(status[:3]), headers=dict(headers))

    networks = [ip_network("10.0.0.0/8")]
    middleware = ClientMiddleware(
        application, limit=5000, threads=16, trusted_proxies=networks, proxies_buffer_bodies=buffered
    )
    request = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": address} | environ
    return middleware(request, start), got


def test_a_body_has_a_slot_until_it_is_read():
    application = Django(read=9)
    ask(application, body=b"x" * 9)
    assert application.in_use == [1, 0]


def test_an_application_that_fails_leaves_no_slot():
    with pytest.raises(ZeroDivisionError):
        ask(Django(error=ZeroDivisionError()), body=b"x" * 9)


@pytest.mark.parametrize(("count", "address"), [(6, "192.0.2.1"), (6, "2001:db8::9")])
def test_one_address_cannot_have_all_threads_wait_for_it(busy, count, address):
    busy(count, address)
    near = "2001:db8::1" if ":" in address else address
    application = Django()
    answer, got = ask(application, body=b"x", address=near)
    assert (got["status"], got["headers"]["Retry-After"], application.calls) == (503, "5", 0)
    assert json.loads(b"".join(answer))["error"]["reason"] == "too_many_transfers"
    assert ask(Django(), body=b"x", address="192.0.2.200")[1]["status"] == 200
    assert ask(Django(), address=near)[1]["status"] == 200  # without a body


def test_all_addresses_together_cannot_have_more_than_half_of_the_threads_wait(busy):
    for number in range(4):
        busy(2, f"192.0.2.{number}")
    assert ask(Django(), body=b"x", address="198.51.100.1")[1]["status"] == 503


def test_behind_a_trusted_proxy_the_address_is_that_of_the_client(busy):
    busy(6, "192.0.2.1")
    assert ask(Django(), body=b"x", address="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1")[1]["status"] == 503
    assert ask(Django(), body=b"x", address="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.2")[1]["status"] == 200
    assert ask(Django(), body=b"x", address="192.0.2.1", HTTP_X_FORWARDED_FOR="192.0.2.2")[1]["status"] == 503


def test_a_body_that_a_trusted_proxy_has_buffered_needs_no_slot(busy):
    busy(6, "192.0.2.1")
    proxied = {"HTTP_X_FORWARDED_FOR": "192.0.2.1", "buffered": True}
    assert ask(Django(), body=b"x", address="10.0.0.1", **proxied)[1]["status"] == 200
    assert ask(Django(), body=b"x", address="192.0.2.1", **proxied)[1]["status"] == 503


def test_a_request_waits_until_a_slot_is_free(busy, monkeypatch):
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 20)
    slot = transfers.Transfers(2).acquire("192.0.2.1")
    Timer(0.2, slot.release).start()
    transfers.Transfers(2).acquire("192.0.2.2").release()


def test_few_requests_wait_while_transfers_are_slow(monkeypatch):
    monkeypatch.setattr(transfers, "FRESH_SECONDS", 0)
    one = transfers.Transfers(4)
    held = [one.acquire(f"192.0.2.{number}") for number in range(2)]
    assert one.may_wait.acquire(blocking=False)  # as another request that waits
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with pytest.raises(slots.NoSlot):
        one.acquire("192.0.2.9")
    for slot in held:
        slot.release()


def test_all_wait_while_transfers_are_quick(monkeypatch):
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 20)
    one = transfers.Transfers(4)
    held = [one.acquire(f"192.0.2.{number}") for number in range(2)]
    assert one.may_wait.acquire(blocking=False)  # as another request that waits
    Timer(0.2, held.pop().release).start()
    one.acquire("192.0.2.9").release()
    held.pop().release()


def test_a_streamed_response_has_a_slot_until_it_is_closed():
    answer, got = ask(Django(response=StreamingHttpResponse([b"a", b"b"])))
    assert (got["status"], slots._in_use["transfers"]) == (200, 1)
    assert b"".join(answer) == b"ab"
    answer.close()
    answer.close()
    assert "transfers" not in slots._in_use


def test_a_streamed_response_without_a_slot_is_refused_and_closed(busy):
    busy(6, "192.0.2.1")
    response = StreamingHttpResponse([b"a"])
    _, got = ask(Django(response=response))
    assert (got["status"], response.closed) == (503, True)


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "1000"}, {"X-Accel-Redirect": "/_originals/whole/a"}], ids=["small", "sent by nginx"]
)
def test_a_response_that_holds_no_thread_needs_no_slot(busy, headers):
    busy(6, "192.0.2.1")
    assert ask(Django(response=StreamingHttpResponse([b"a"], headers=headers)))[1]["status"] == 200
