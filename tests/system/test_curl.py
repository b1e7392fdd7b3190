"""A server as curl sees it, byte by byte where that matters."""

import json
import socket
import subprocess
import time
from hashlib import sha1
from http.client import HTTPConnection

import pytest

from tests.conftest import files_in
from tests.support import images

pytestmark = pytest.mark.any_database


def curl(*arguments: object) -> tuple[int, dict]:
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    body, _, status = run.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else {}


def exchange(server, *pieces: bytes, pause: float = 0) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer


@pytest.fixture
def header(server):
    return f"Api-Key: {server.api_key}"


def test_upload_read_download(server, header, tmp_path):
    picture, copy = tmp_path / "harbour.jpg", tmp_path / "copy.jpg"
    picture.write_bytes(images.jpeg(640, 480))
    status, body = curl("-H", header, "-F", f"filedata=@{picture}", f"{server.url}/sourceimages/acme")
    [item] = body["items"]
    assert status == 200
    assert item["binary_hash"] == sha1(picture.read_bytes()).hexdigest()
    assert curl("-H", header, f"{server.url}{item['link']}")[1]["name"] == "harbour.jpg"
    assert curl("-H", header, f"{server.url}/sourceimages/acme?limit=1")[1]["total"] == 1
    curl("-H", header, "-o", copy, f"{server.url}{item['link']}/download")
    assert copy.read_bytes() == picture.read_bytes()
    copy.write_bytes(picture.read_bytes()[:1000])  # a download that was broken off goes on where it was
    curl("-H", header, "--continue-at", "-", "-o", copy, f"{server.url}{item['link']}/download")
    assert copy.read_bytes() == picture.read_bytes()


def test_a_chunked_upload_works(server, header, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(images.png(300, 300))
    chunked = ("-H", header, "-H", "Transfer-Encoding: chunked")
    status, body = curl(*chunked, "-F", f"filedata=@{picture}", f"{server.url}/sourceimages/acme")
    assert status == 200
    assert body["items"][0]["size"] == picture.stat().st_size


def test_a_chunked_upload_is_bounded(make_server, tmp_path):
    server = make_server(MAX_REQUEST_SIZE="100000").start()
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200_000))
    headers = ("-H", f"Api-Key: {server.api_key}", "-H", "Transfer-Encoding: chunked")
    status, body = curl(*headers, "-F", f"filedata=@{picture}", f"{server.url}/sourceimages/acme")
    assert status == 413
    assert "100,000" in body["error"]["message"]
    assert list((server.data_dir / "files" / ".spool").iterdir()) == []


def test_a_file_over_150_megabytes_is_refused(server, header, tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.write(images.jpeg())
        file.truncate(150_000_001)
    status, body = curl("-H", header, "-F", f"filedata=@{large}", f"{server.url}/sourceimages/acme")
    assert status == 413
    assert "150,000,000" in body["error"]["message"]
    assert list((server.data_dir / "files" / ".spool").iterdir()) == []


def test_a_stranger_is_refused_without_reading_the_body(server):
    head = b"POST /sourceimages/acme HTTP/1.1\r\nHost: localhost\r\nApi-Key: wrong\r\nContent-Length: 500000000\r\n"
    answer = exchange(server, head + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n", bytes(1_100_000))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"connection: close" in answer.lower()
    assert b"invalid_authentication" in answer


def test_who_waits_to_be_asked_for_the_body_is_not_asked(server):
    head = b"POST /sourceimages/acme HTTP/1.1\r\nHost: localhost\r\nApi-Key: wrong\r\nContent-Length: 500000000\r\n"
    answer = exchange(server, head + b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")


def test_a_small_refused_body_does_not_cost_the_connection(server):
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.connect()
    first = connection.sock
    for _ in range(2):
        connection.request("POST", "/sourceimages/acme", body=bytes(5000))
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 403
        assert connection.sock is first


@pytest.mark.parametrize("framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n"])
def test_a_connection_that_breaks_leaves_nothing(server, framing):
    head = (
        b"POST /sourceimages/acme HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Api-Key: " + server.api_key.encode() + b"\r\n" + framing
    )
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + images.png(100, 100)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + part)
        time.sleep(0.2)
    time.sleep(0.5)
    assert server.session().get(f"{server.url}/sourceimages/acme").json()["total"] == 0
    assert files_in(server.data_dir / "files") == []


def test_head_has_the_headers_of_get_and_no_body(server):
    link = server.upload(images.png()).json()["items"][0]["link"]
    request = (
        f"HEAD {link}/download HTTP/1.1\r\nHost: localhost\r\nApi-Key: {server.api_key}\r\nConnection: close\r\n\r\n"
    )
    head, _, body = exchange(server, request.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {len(images.png())}".encode() in head.lower()
    assert body == b""


def test_five_slow_uploads_keep_nobody_waiting(server):
    head = (
        b"POST /sourceimages/acme HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 100000\r\nApi-Key: " + server.api_key.encode() + b"\r\n\r\n--b\r\n"
    )
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    for connection in slow:
        connection.sendall(head)
    assert server.upload(images.png()).status_code == 200
    for connection in slow:
        connection.close()


def test_downloads_do_not_fill_the_memory(server, header, tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.write(images.jpeg())
        file.truncate(120_000_000)
    before = server.memory()
    status, body = curl("-H", header, "-F", f"filedata=@{large}", f"{server.url}/sourceimages/acme")
    assert status == 200
    curl("-H", header, "-o", tmp_path / "copy", f"{server.url}{body['items'][0]['link']}/download")
    assert (tmp_path / "copy").stat().st_size == 120_000_000
    assert server.memory() - before < 40_000_000
