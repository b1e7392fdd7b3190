"""Twenty clients that read an archive slowly, and others that send slowly: everybody else is served."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support import images
from tests.support.nginx import nginx
from tests.system.conftest import Server, free_port, until

pytestmark = pytest.mark.any_database

MANY = 20  # more than the server has threads
IMAGES = 6  # of 3 MB: an archive is larger than all buffers on its way


@pytest.fixture
def server(make_server) -> Server:
    limits = {f"MAX_ARCHIVES_PER_{owner}": str(MANY) for owner in ("KEY", "ORGANIZATION", "PROCESS")}
    made = make_server(TRUSTED_PROXIES="127.0.0.1", ACCEL_REDIRECT="true", **limits)
    made.application = "tests.system.impatient:application"
    made.start()
    for seed in range(IMAGES):
        assert made.upload(images.png(1000, 1000, seed=seed)).status_code == 200
    return made


@pytest.fixture(params=["nginx", "direct"])
def url(request, server, tmp_path) -> Iterator[str]:
    if request.param == "direct":
        yield server.url
        return
    with nginx(tmp_path, port=free_port(), servers=[server.port]) as proxy:
        yield proxy


@contextmanager
def clients(url: str, head: str, key: str, body: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections of MANY clients, each from an address of its own, that have sent a request and read nothing."""
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        opened = []
        for number in range(MANY):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            connection.bind((f"127.0.1.{number + 1}", 0))
            connection.connect((host, int(port)))
            connection.sendall(f"{head}\r\nHost: 127.0.0.1\r\nApi-Key: {key}\r\n\r\n".encode() + body)
            opened.append(connection)
        yield opened


def statuses(server: Server, url: str, times: int = 10) -> set[int]:
    with server.session() as calm:
        return {calm.get(f"{url}/sourceimages/acme?limit=1", timeout=20).status_code for _ in range(times)}


def ended(connection: socket.socket) -> bool:
    """Whether the server has ended the connection; reads a little, as a slow client does."""
    connection.setblocking(False)
    try:
        return not connection.recv(100)
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_slow_readers_of_archives_hold_nobody_up_and_are_disconnected(server, url, tmp_path):
    before = statuses(server, url)
    with clients(url, "GET /sourceimages/acme/download HTTP/1.1", server.api_key) as readers:
        time.sleep(1)
        assert statuses(server, url) == before == {200}
        assert until(lambda: "slow_clients.ended" in server.log.read_text(), 30)
        assert statuses(server, url) == {200}
        assert sum(file.stat().st_size for file in tmp_path.rglob("responses/**/*") if file.is_file()) == 0
        if url == server.url:
            assert until(lambda: all(list(map(ended, readers))), 60)


def test_slow_senders_hold_nobody_up(server):
    """Behind nginx they don't reach the server: nginx sends complete bodies."""
    head = "POST /sourceimages/acme HTTP/1.1\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; boundary=a"
    with clients(server.url, head, server.api_key, b"--a\r\n"):
        time.sleep(2)
        assert statuses(server, server.url) == {200}
        assert "transfers.refused" in server.log.read_text()
    assert until(lambda: server.upload(images.png(seed=99)).status_code == 200, 20)


def test_a_download_that_nginx_sends_needs_no_thread(server, tmp_path):
    hash = server.session().get(f"{server.url}/sourceimages/acme?limit=1", timeout=30).json()["items"][0]["hash"]
    with nginx(tmp_path, port=free_port(), servers=[server.port], files=server.data_dir / "files") as url:
        with clients(url, f"GET /sourceimages/acme/{hash}/download HTTP/1.1", server.api_key) as readers:
            assert all(reader.recv(15) == b"HTTP/1.1 200 OK" for reader in readers)
            assert statuses(server, url) == {200}
        assert "transfers.refused" not in server.log.read_text()
