"""Effect on other users while a key with the role `upload` fetches files from servers that send one byte per second.

The table has the response times of lists, in calm and under attack. With --unbounded, all threads can wait for such
servers.
"""

import argparse
import http.client
import json
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

from benchmarks.common import ORGANIZATION, Server, installation, options, print_table

DRIPPING = "127.0.0.5"
ATTACKERS = 80
READERS = 4
LIST = f"/sourceimages/{ORGANIZATION}?limit=20"
BOUNDARY = "attack"
UNBOUNDED_THREADS = "4096"  # WEB_THREADS, from which the bound is derived


def main(arguments: argparse.Namespace) -> None:
    variables = {"FETCH_ALLOWED_NETWORKS": f"{DRIPPING}/32", "RATE_LIMIT_ENABLED": "false"}
    variables["WEB_THREADS"] = UNBOUNDED_THREADS if arguments.unbounded else "16"
    with installation(arguments) as installed, installed.server(**variables) as server, closing(dripping()) as source:
        key = uploader(server)
        for number in range(20):
            assert ask(server, "POST", f"/sourceimages/{ORGANIZATION}", server.headers, form(svg(number)))[0] == 200
        read(server, 2)
        calm = read(server, arguments.seconds)
        stop, statuses = threading.Event(), list[int]()
        with ThreadPoolExecutor(ATTACKERS) as pool:
            url = f"http://{DRIPPING}:{source.getsockname()[1]}/a.png"
            for _ in range(ATTACKERS):
                pool.submit(attack, server, key, url, stop, statuses)
            time.sleep(2)
            attacked = read(server, arguments.seconds)
            stop.set()
    rows = [
        [name, str(len(times)), *(f"{ms(times, share):.1f}" for share in (50, 95, 99))]
        for name, times in (("calm", calm), ("under attack", attacked))
    ]
    print_table(["", "lists", "p50, ms", "p95, ms", "p99, ms"], rows)
    print(f"p95 under attack / calm: {ms(attacked, 95) / ms(calm, 95):.2f}")
    print(f"Responses to the attackers: { ({status: statuses.count(status) for status in sorted(set(statuses))}) }")


def ms(times: list[float], share: int) -> float:
    return statistics.quantiles(times, n=100)[share - 1] * 1000


def ask(server: Server, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    with closing(connection):
        if isinstance(body, bytes):
            headers = headers | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


def uploader(server: Server) -> str:
    """The key of a new user with the role `upload`."""
    body = json.dumps({"email": "mallory@example.org", "roles": ["upload"]})
    status, answer = ask(server, "POST", f"/organizations/{ORGANIZATION}/memberships", server.headers, body)
    assert status == 201, answer
    return str(answer["api_key"])


def form(content: bytes, *, url: str = "") -> bytes:
    head = 'name="url[0]"' if url else 'name="filedata"; filename="a.svg"'
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n"
    return start.encode() + (url.encode() or content) + f"\r\n--{BOUNDARY}--\r\n".encode()


def svg(number: int) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{number + 1}" height="9"/>'.encode()


def read(server: Server, seconds: float) -> list[float]:
    """Response times of lists in seconds, for users who send one request after the other."""
    until = time.monotonic() + seconds

    def reader() -> list[float]:
        times = []
        while time.monotonic() < until:
            began = time.monotonic()
            assert ask(server, "GET", LIST, server.headers)[0] == 200
            times.append(time.monotonic() - began)
            time.sleep(0.02)
        return times

    with ThreadPoolExecutor(READERS) as pool:
        return [one for times in [pool.submit(reader) for _ in range(READERS)] for one in times.result()]


def attack(server: Server, key: str, url: str, stop: threading.Event, statuses: list[int]) -> None:
    """Upload by URL repeatedly; after an error, wait a second."""
    while not stop.is_set():
        path = f"/sourceimages/{ORGANIZATION}"
        with suppress(OSError, http.client.HTTPException):
            statuses.append(ask(server, "POST", path, {"Api-Key": key}, form(b"", url=url))[0])
        stop.wait(1)


def dripping() -> socket.socket:
    """A server that sends the headers of a response and then one byte per second."""
    listening = socket.create_server((DRIPPING, 0), backlog=200)

    def serve() -> None:
        with suppress(OSError):  # the socket is closed
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=drip, args=[connection], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listening


def drip(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(1)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--unbounded", action="store_true", help="let all threads wait for slow servers")
    main(parser.parse_args())
