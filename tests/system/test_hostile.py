"""Every known attack that comes as an upload, against a real server: refused, or kept as bytes that nobody runs."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import files_in
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database

CANARY = ("127.0.0.1", 18999)  # where files try to make a server call
MARKER = "image-service-canary-*"  # files that commands in files try to make
SECONDS = 20
LEAKS = [b"root:x:", b"root:!:", b"daemon:x:", b"PATH=", b"HOME="]
CORPUS = os.environ.get("TEST_CORPUS")
MANIFEST = Path(CORPUS, "hostile", "hostile.json") if CORPUS else None
CASES: list[dict[str, Any]] = json.loads(MANIFEST.read_text())["cases"] if MANIFEST else []


@dataclass
class Trap:
    """Listens where nobody may call, and remembers who did."""

    calls: int = 0

    def listen(self, port: socket.socket) -> None:
        while True:
            try:
                connection, _ = port.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    with socket.create_server(CANARY, reuse_port=True) as port:
        Thread(target=trap.listen, args=(port,), daemon=True).start()
        yield trap


@pytest.fixture(scope="module")
def server(make_module_server, corpus) -> Server:
    started: Server = make_module_server().start()
    started.upload(images.png())
    return started


@pytest.fixture(scope="module")
def large_files(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    command = [sys.executable, corpus / "hostile" / "make_hostile.py", "--big", folder]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def form(case: dict[str, Any], content: bytes) -> tuple[bytes, str]:
    """Body and content type, byte for byte as the case wants them."""
    if case.get("kind") == "raw_request":
        return content, case["send_content_type"]
    name = bytes.fromhex(case["send_filename_hex"]) if "send_filename_hex" in case else case["send_filename"].encode()
    head = b'--frontier\r\nContent-Disposition: form-data; name="filedata"; filename="' + name + b'"\r\n'
    head += f"Content-Type: {case['send_content_type']}\r\n\r\n".encode()
    return head + content + b"\r\n--frontier--\r\n", "multipart/form-data; boundary=frontier"


def send(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
    """Read by a client that takes a broken header for what it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS * 3)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may refuse before it has read everything
        connection.request(method, path, body=body, headers={"Api-Key": server.api_key, **headers})
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    return response


def kept(server: Server) -> set[Path]:
    return set(files_in(server.data_dir / "files"))


def markers() -> set[Path]:
    return {*Path(tempfile.gettempdir()).glob(MARKER), *Path.cwd().glob(MARKER), *Path("/").glob(MARKER)}


@pytest.mark.skipif(CASES == [], reason="TEST_CORPUS is not set: there are no files that attack")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_an_attack_comes_to_nothing(server, trap, corpus, case, request: pytest.FixtureRequest):
    folder = corpus / "hostile" if case["file"] else request.getfixturevalue("large_files")
    found = [folder / case["file"]] if case["file"] else sorted(folder.rglob(f"{case['id']}*"))
    content = found[0].read_bytes()
    body, content_type = form(case, content)
    before = (kept(server), markers(), trap.calls, server.memory())

    began = time.monotonic()
    answer = send(server, "POST", "/sourceimages/acme", body, **{"Content-Type": content_type})
    seconds = time.monotonic() - began
    items = json.loads(answer.body).get("items", []) if answer.status == 200 else []
    if answer.status == 200:
        came_back_unchanged_and_harmless(server, case, content, items)

    assert answer.status < 500, answer.body
    outcomes = {"reject"} if answer.status >= 400 else {"store_inert", "store_exact"}
    assert outcomes & set(case["acceptable"])
    assert seconds < SECONDS
    assert server.memory() - before[3] < 1_000_000_000
    assert trap.calls == before[2]
    assert markers() == before[1]
    assert not any(leak in answer.body for leak in LEAKS)
    if answer.status >= 400:
        assert kept(server) == before[0]
    else:
        assert {path.parent.parent.parent for path in kept(server) - before[0]} <= {server.data_dir / "files"}
    assert send(server, "GET", "/health/ready").status == 200


def came_back_unchanged_and_harmless(
    server: Server, case: dict[str, Any], content: bytes, items: list[dict[str, Any]]
) -> None:
    """Each picture comes back as it was sent, and no browser runs it."""
    sent = content if case.get("kind") != "raw_request" else None
    for item in items:
        download = send(server, "GET", item["link"] + "/download")
        assert download.status == 200
        if sent is not None:
            assert (download.body, item["binary_hash"]) == (sent, sha1(sent).hexdigest())
        assert download.getheader("X-Content-Type-Options") == "nosniff"
        assert str(download.getheader("Content-Disposition")).startswith("attachment;")
        assert "sandbox" in str(download.getheader("Content-Security-Policy"))
        assert download.getheader("X-Injected") is None
        assert not any(leak in json.dumps(item).encode() for leak in LEAKS)
        for name in ("format", "width", "height"):
            if name in case:
                assert item[name] == case[name]


TO_BE_REWRITTEN = [case for case in CASES if str(case["file"]).endswith((".tif", ".tiff", ".psd"))]


@pytest.fixture(scope="module")
def rewriting_server(make_module_server, corpus) -> Server:
    started: Server = make_module_server(REDIS_URL="").start()
    return started


@pytest.mark.skipif(CASES == [], reason="TEST_CORPUS is not set: there are no files that attack")
@pytest.mark.parametrize("case", TO_BE_REWRITTEN, ids=[case["id"] for case in TO_BE_REWRITTEN])
def test_an_attack_that_wants_to_be_rewritten_comes_to_nothing(rewriting_server, corpus, case):
    server, content = rewriting_server, (corpus / "hostile" / case["file"]).read_bytes()
    wish = b'--frontier\r\nContent-Disposition: form-data; name="optimize_source"\r\n\r\ntrue\r\n'
    body, content_type = form(case, content)
    answer = send(server, "POST", "/sourceimages/acme", wish + body, **{"Content-Type": content_type})
    assert answer.status < 500, answer.body
    for item in json.loads(answer.body).get("items", []):
        said = json.loads(send(server, "GET", item["link"]).body)["static_metadata"]["optimize"]
        download = send(server, "GET", item["link"] + "/download")
        assert download.body == content if "skipped_reason" in said else download.body.startswith(b"\x89PNG")


def test_nothing_contradicts_anything_after_all_of_it(server, rewriting_server):
    for one in (server, rewriting_server):
        assert one.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."
        assert list((one.data_dir / "files" / ".spool").iterdir()) == []
