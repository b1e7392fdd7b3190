"""Connections of clients that read too slowly are ended: real connections, and a clock that the test sets."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rokka.core.slow_clients import SlowClients
from tests.system.conftest import until

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux only: how much a client has received"),
]

MUCH = bytes(20_000_000)  # more than all buffers hold


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def clients(listening) -> SlowClients:
    return SlowClients(listening.getsockname()[1], min_rate=1000, window=10)


@pytest.fixture
def pair(listening) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and the server's end of its connection."""
    with socket.create_connection(listening.getsockname(), timeout=10) as client, listening.accept()[0] as accepted:
        accepted.setblocking(False)
        yield client, accepted


def fill(connection: socket.socket) -> int:
    """Send until all buffers are full, and stay so for a while."""
    sent, deadline = 0, time.monotonic() + 0.3
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            sent += connection.send(MUCH)
            deadline = time.monotonic() + 0.3
        time.sleep(0.02)
    return sent


def read(client: socket.socket, count: int) -> None:
    while count > 0:
        count -= len(client.recv(min(count, 1_000_000)))


def is_open(client: socket.socket) -> bool:
    client.settimeout(5)
    try:
        while client.recv(1_000_000):
            pass
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False
    return False


def test_a_client_that_does_not_read_is_disconnected(pair, clients):
    client, accepted = pair
    fill(accepted)
    assert [clients.scan(now) for now in (0, 5, 10)] == [0, 0, 1]
    assert not is_open(client)


def test_a_client_that_reads_slowly_is_disconnected(pair, clients):
    client, accepted = pair
    fill(accepted)
    clients.scan(0)
    read(client, 2000)
    assert clients.scan(10) == 1


def test_a_client_that_reads_fast_enough_stays(pair, clients):
    client, accepted = pair
    part = fill(accepted) // 4  # the kernel asks for more when a part of its buffer is free, however large that is
    for now in range(0, 40, 5):
        assert clients.scan(now) == 0
        read(client, part)
        fill(accepted)
    assert clients.scan(40) == 0


def test_a_client_that_has_read_everything_in_between_stays(pair, clients):
    client, accepted = pair
    count = fill(accepted)
    clients.scan(0)
    read(client, count)
    assert until(lambda: clients.scan(5) == 0 and not clients.waiting, 10)
    fill(accepted)
    assert clients.scan(10) == 0


def test_idle_connections_and_others_stay(pair, clients):
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as client,
        other.accept()[0] as accepted,
    ):
        accepted.setblocking(False)
        fill(accepted)
        assert [clients.scan(now) for now in (0, 5, 10, 30)] == [0, 0, 0, 0]
        pair[1].send(b"hello")
        assert pair[0].recv(9) == b"hello"
        read(client, 1000)
