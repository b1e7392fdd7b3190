"""rokka behind the nginx of deploy/."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from requests import Session
from requests.adapters import HTTPAdapter

from tests.conftest import ROOT
from tests.support import images
from tests.support.nginx import nginx
from tests.system.conftest import Server, free_port, until

pytestmark = pytest.mark.any_database

CLIENT = "127.0.0.2"  # not a trusted proxy


class FromClient(HTTPAdapter):
    """Connects from CLIENT."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, **options, source_address=(CLIENT, 0))


def client() -> Session:
    session = Session()
    session.mount("http://", FromClient())
    return session


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X_Forwarded_For"])
def test_a_client_cannot_choose_the_address_it_is_counted_by(make_server, tmp_path, name):
    """For the server, a name with underscores is the same name, and the last header of a request counts."""
    server = make_server(TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT_PER_ADDRESS="1").start()
    with nginx(tmp_path, port=free_port(), servers=[server.port]) as url:
        statuses = [
            client().get(f"{url}/operations", headers={name: f"198.51.100.{number}"}, timeout=30).status_code
            for number in (1, 2)
        ]
    assert statuses == [200, 429]


LARGE = 2_000_000  # bytes, which nginx buffers


class Large(BaseHTTPRequestHandler):
    """Sends LARGE bytes, and counts finished responses."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(LARGE))
        self.end_headers()
        self.wfile.write(bytes(LARGE))
        self.server.seen.append(self.path)

    def log_message(self, *arguments: object) -> None:
        pass


class Killed(BaseHTTPRequestHandler):
    """Ends the connection after each request without a response, as a killed server does."""

    def handle_one_request(self) -> None:
        line = self.rfile.readline()
        if line:
            self.server.seen.append(line.split()[0].decode())
        self.close_connection = True


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.seen = True, []
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def unreachable() -> Iterator[int]:
    """A port at which connections are neither accepted nor refused, like those of a removed container."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(2):  # fill the queue
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@pytest.mark.parametrize("other", [lambda: nullcontext(free_port()), unreachable], ids=["stopped", "removed"])
def test_an_upload_goes_to_another_server_if_one_is_gone(make_server, tmp_path, other):
    server = make_server().start()
    files = {"filedata": ("a.png", images.png())}
    with other() as port, nginx(tmp_path, port=free_port(), servers=[port, server.port]) as url:
        answer = requests.post(f"{url}/sourceimages/acme", files=files, headers={"Api-Key": server.api_key}, timeout=30)
    assert answer.status_code == 200
    assert server.session().get(f"{server.url}/sourceimages/acme", timeout=30).json()["total"] == 1


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("POST", 1), ("PATCH", 1)])
def test_only_requests_that_can_be_repeated_are_sent_again(tmp_path, method, sent):
    """A server that was killed may have stored the upload."""
    with serving(Killed) as one, serving(Killed) as two:
        ports = [one.server_address[1], two.server_address[1]]
        with nginx(tmp_path, port=free_port(), servers=ports) as url:
            answer = requests.request(method, f"{url}/sourceimages/acme", data=b"x", timeout=30)
    assert one.seen + two.seen == [method] * sent
    assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable")


def test_a_slow_download_does_not_occupy_the_server(tmp_path):
    with serving(Large) as server, nginx(tmp_path, port=free_port(), servers=[server.server_address[1]]) as url:
        answer = requests.get(f"{url}/large", stream=True, timeout=30)  # nothing of the body is read
        assert until(lambda: server.seen == ["/large"], 10)
        assert len(answer.content) == LARGE


# --- Originals that nginx sends ---------------------------------------------------------------------------------------

OF_EACH_RESPONSE = {"Date", "Server", "Connection", "Transfer-Encoding", "X-Request-Id", "X-Ratelimit-Remaining"}
NAME = 'Übersicht; "a".png'


@contextmanager
def behind_nginx(make_server, folder: Path, *, storage: str = "", **variables: str) -> Iterator[tuple[Server, str]]:
    """A server that lets nginx send originals, and the URL of nginx, from whose address it trusts headers."""
    if storage:
        variables["STORAGE_URL"] = storage
    server = make_server(TRUSTED_PROXIES="127.0.0.1", ACCEL_REDIRECT="true", **variables).start()
    files = server.data_dir / "files"
    with nginx(folder, port=free_port(), servers=[server.port], files=files) as url:
        yield server, url


@pytest.fixture(params=["local", "s3"])
def storage_url(request) -> str:
    return "" if request.param == "local" else request.getfixturevalue("empty_bucket")


def requests_of_a_download(etag: str, size: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Methods and headers: with everything that changes the response."""
    yield "GET", {}
    yield "HEAD", {}
    for span in ("0-9", "5-5", "-7", f"{size - 3}-", f"10-{size + 5}", f"{size}-", "5-2", "0-1,4-5", "a-b", " 0 - 4"):
        yield "GET", {"Range": f"bytes={span}"}
    yield "HEAD", {"Range": "bytes=0-9"}
    for validator in (etag, '"other"', f"W/{etag}", "Mon, 01 Jan 2024 00:00:00 GMT"):
        yield "GET", {"Range": "bytes=0-9", "If-Range": validator}
        yield "GET", {"If-None-Match": validator}
        yield "GET", {"If-Match": validator}
    for moment in ("Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2125 00:00:00 GMT"):
        yield "GET", {"If-Modified-Since": moment}
        yield "GET", {"If-Unmodified-Since": moment}
        yield "GET", {"If-Modified-Since": moment, "If-None-Match": '"other"'}
    yield "GET", {"Origin": "https://app.example.org"}


def test_an_original_that_nginx_sends_is_the_same_response(make_server, tmp_path, storage_url):
    content = images.png(300, 200)
    with behind_nginx(make_server, tmp_path, storage=storage_url) as (server, url):
        files = {"filedata": (NAME, content)}
        stored = server.session().post(f"{server.url}/sourceimages/acme", files=files, timeout=60).json()["items"][0]
        hash, key = stored["hash"], {"Api-Key": server.api_key}
        put = server.session().put(f"{server.url}/sourceimages/acme/{hash}/options/protected", json=True, timeout=60)
        hash = put.headers["Location"].rpartition("/")[2] if put.headers.get("Location") else hash
        path = f"/sourceimages/acme/{hash}/download"
        asked = server.session().get(server.url + path, timeout=60)  # from the address of nginx
        assert asked.headers["X-Accel-Redirect"].startswith("/_originals/")
        assert asked.content == b""
        for where in (path, f"/render/acme/dynamic/o-source_file-true/{hash}.png"):
            etag = client().head(server.url + where, headers=key, timeout=30).headers.get("ETag", '"x"')
            for method, headers in requests_of_a_download(etag, len(content)):
                direct = client().request(method, server.url + where, headers=headers | key, timeout=30)
                answer = client().request(method, url + where, headers=headers | key, timeout=30)
                assert differences(answer, direct) == {}, (method, headers)
                assert answer.content == direct.content, (method, headers)
        refused = client().get(url + path, headers={"Api-Key": "x" * 64}, timeout=30)
        assert refused.status_code == 403
        internal = requests.get(url + asked.headers["X-Accel-Redirect"], timeout=30)
        assert (internal.status_code, internal.json()["reason"]) == (404, "not_found")
        logs = "".join(log.read_text() for log in tmp_path.glob("nginx-*"))
        assert path in logs
        assert "_originals" not in logs
        assert "X-Amz-Signature" not in logs


def test_an_original_that_nginx_cannot_read_is_an_error_of_the_storage(make_server, tmp_path):
    with behind_nginx(make_server, tmp_path) as (server, _):
        hash = server.upload(images.png()).json()["items"][0]["hash"]
        (other := tmp_path / "other").mkdir()
        with nginx(other, port=free_port(), servers=[server.port]) as url:
            answer = server.session().get(f"{url}/sourceimages/acme/{hash}/download", timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (503, "storage_unavailable")
    assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == ("application/json", "5")


def differences(one: requests.Response, other: requests.Response) -> dict[str, tuple[object, object]]:
    """Status and headers in which the responses differ."""
    left, right = seen(one), seen(other)
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def seen(answer: requests.Response) -> dict[str, object]:
    """The status and all headers but those of each response. Repeated headers are joined by `requests`."""
    headers = {name.title(): value for name, value in answer.headers.items()}
    return {"status": answer.status_code} | {name: headers[name] for name in headers if name not in OF_EACH_RESPONSE}


# --- Addresses of clients ---------------------------------------------------------------------------------------------


def busy(url: str, forwarded: str) -> list[int]:
    """The statuses of a request while 32 connections for one address wait, by that address and by another one."""
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        for _ in range(32):
            waiting = stack.enter_context(socket.create_connection((host, int(port)), source_address=(CLIENT, 0)))
            head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {forwarded}\r\nContent-Length: 9\r\n\r\n1"
            waiting.sendall(head.encode())
        time.sleep(0.5)
        return [
            client().get(f"{url}/operations", headers={"X-Forwarded-For": address}, timeout=30).status_code
            for address in (forwarded, "198.51.100.2")
        ]


@pytest.mark.parametrize(
    ("outer_proxies", "statuses"),
    [(f"192.0.2.0/24,{CLIENT},", [503, 200]), ("192.0.2.0/24", [503, 503]), ("", [503, 503])],
)
def test_connections_are_counted_by_client_behind_trusted_proxies_only(server, tmp_path, outer_proxies, statuses):
    with nginx(tmp_path, port=free_port(), servers=[server.port], outer_proxies=outer_proxies) as url:
        assert busy(url, "203.0.113.9, 198.51.100.1") == statuses


def test_an_invalid_outer_proxy_ends_the_start(tmp_path):
    script = ROOT / "deploy" / "nginx-outer-proxies.sh"
    run = subprocess.run([script, tmp_path], env={"OUTER_PROXIES": "10.0.0.0/8;"}, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "OUTER_PROXIES: 10.0.0.0/8; is not an address or a network.\n")
