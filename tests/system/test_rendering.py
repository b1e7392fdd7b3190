"""Rendering by real servers: one render for many requests, and crashes at any step."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from organizations.auth.signed_urls import signed_url
from rokka.core import failpoints
from tests.conftest import files_in
from tests.support import images
from tests.system.conftest import Server, until

RENDERING = [place for place in failpoints.FAILPOINTS if place.startswith("render.")]


def uploaded(server: Server, content: bytes) -> str:
    """Hash of the new image."""
    answer = server.upload(content)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["items"][0]["hash"])


def get(server: Server, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{server.url}/render/acme{path}", headers=headers, timeout=60)


def renders(server: Server) -> int:
    """How many renders the server has logged."""
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines() if line.startswith("{")]
    return events.count("render")


def test_a_hundred_requests_for_a_cold_url_start_one_render(make_server):
    server = make_server(processes=2, LOG_LEVEL="INFO", WEB_THREADS="128").start()
    hash = uploaded(server, images.jpeg(1200, 900))
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: get(server, f"/dynamic/resize-width-700/{hash}.avif"), range(100)))
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert renders(server) == 1


@pytest.mark.parametrize("place", RENDERING)
def test_a_killed_render_leaves_nothing_half_made(make_server, place):
    server = make_server(ROKKA_FAILPOINT=place).start()
    hash = uploaded(server, images.png(40, 30))
    with pytest.raises(requests.ConnectionError):
        get(server, f"/dynamic/resize-width-20/{hash}.png")
    server.stop()
    finished = [path for path in files_in(server.data_dir / "renders") if ".drafts" not in path.parts]
    assert finished == []

    del server.environment["ROKKA_FAILPOINT"]
    server.start()
    started = time.monotonic()
    answer = get(server, f"/dynamic/resize-width-20/{hash}.png")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert time.monotonic() - started < 20  # the lock of the killed process is not waited for


@pytest.mark.any_database
def test_a_signed_path_with_an_encoded_slash_needs_the_raw_path_of_a_proxy(make_server):
    """The server passes only decoded paths to the application."""
    server = make_server(TRUSTED_PROXIES="127.0.0.1").start()
    hash = uploaded(server, images.png(40, 30))
    organization = server.session().get(f"{server.url}/organizations/acme").json()
    options = {"protect_dynamic_stack": True}
    server.session().put(f"{server.url}/organizations/acme/options", json=options).raise_for_status()
    url = signed_url(f"/render/acme/dynamic/v-t-a%2Fb/{hash}.png", organization["signing_keys"][0]["key"])
    without, with_header = (
        requests.get(f"{server.url}{url}", headers=headers, timeout=30) for headers in ({}, {"X-Raw-Uri": url})
    )
    assert (without.status_code, with_header.status_code) == (403, 200)


@pytest.mark.any_database
def test_a_killed_worker_is_replaced(make_server):
    server = make_server(RENDER_WORKERS="1").start()
    hash = uploaded(server, images.jpeg(3000, 2000))
    assert get(server, f"/dynamic/resize-width-20/{hash}.png").status_code == 200  # the worker has started
    [worker] = render_workers(server)
    answers: list[requests.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(get(server, f"/dynamic/resize-width-2900--blur-sigma-20/{hash}.png"))
    )
    thread.start()
    time.sleep(0.3)
    os.kill(worker, signal.SIGKILL)
    thread.join()
    assert [answer.status_code for answer in answers] == [200]
    assert worker not in render_workers(server)


@pytest.mark.any_database
def test_workers_end_with_their_server(make_server):
    server = make_server().start()
    hash = uploaded(server, images.png(40, 30))
    get(server, f"/dynamic/resize-width-20/{hash}.png")
    workers = render_workers(server)
    assert workers
    server.stop()  # kills it; workers have a session of their own
    assert until(lambda: not any(alive(worker) for worker in workers), 10)


def render_workers(server: Server) -> list[int]:
    """Process IDs of the render workers of the server."""
    assert server.process is not None
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_worker = b"rendering.painters" in (folder / "cmdline").read_bytes()
            if is_worker and server.process.pid in ancestors(int(folder.name)):
                found.append(int(folder.name))
    return found


def ancestors(process: int) -> set[int]:
    found: set[int] = set()
    while process > 1:
        try:
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        process = int(status.rpartition(")")[2].split()[1])
        found.add(process)
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
