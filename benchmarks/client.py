"""The load generator: keep-alive connections in a separate process, with prebuilt requests.

It reads a `Job` as JSON from standard input and prints {"requests", "seconds"}. It uses sockets directly: an HTTP
library would use more CPU time than the server, and both run on the same machine.
"""

import itertools
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

BOUNDARY = "-----------------------------benchmark"
UNIQUE = 16  # last bytes of an uploaded file, different in every request


class Job(TypedDict):
    """GET `paths`, or POST `file` to the first path, until `count` requests or `seconds` are reached."""

    port: int
    headers: dict[str, str]
    paths: list[str]
    file: str | None
    clients: int
    count: int | None
    seconds: float | None


def requests_to_send(job: Job) -> Iterator[bytes | bytearray]:
    """Generate requests endlessly. POST requests reuse one buffer, which is changed in place."""
    common = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **job["headers"]}.items())
    if not job["file"]:
        requests = [f"GET {path} HTTP/1.1\r\n{common}\r\n".encode() for path in job["paths"]]
        random.shuffle(requests)
        yield from itertools.cycle(requests)
    part = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="filedata"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    body = part.encode() + Path(job["file"] or "").read_bytes() + tail
    head = (
        f"POST {job['paths'][0]} HTTP/1.1\r\n{common}Content-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    request = bytearray(head.encode() + body)
    end = len(request) - len(tail)
    while True:
        request[end - UNIQUE : end] = os.urandom(UNIQUE)
        yield request


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1024 * 1024)
        self.view = memoryview(self.buffer)

    def ask(self, request: bytes | bytearray) -> None:
        """Send the request and read the whole response. Raises RuntimeError unless the status is 200."""
        self.socket.sendall(request)
        filled = 0
        while (end := self.buffer.find(b"\r\n\r\n", 0, filled)) < 0:
            filled += self._receive(filled)
        head = bytes(self.buffer[: end + 2]).lower()
        if b" 200 " not in head[:13]:
            raise RuntimeError(f"unexpected response {self.buffer[:filled][:2000]!r}")
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        left = length - (filled - end - 4)
        while left > 0:
            left -= self._receive(0)

    def _receive(self, position: int) -> int:
        count = self.socket.recv_into(self.view[position:])
        if not count:
            raise RuntimeError("the server closed the connection")
        return count


def worker(job: Job, start: threading.Barrier, more: Callable[[], bool]) -> tuple[int, float, float]:
    """Returns the number of responses, the start of the first request and the end of the last one."""
    requests, connection, answered = requests_to_send(job), Connection(job["port"]), 0
    request = next(requests)
    start.wait()
    began = time.monotonic()
    while more():
        connection.ask(request)
        answered += 1
        request = next(requests)
    return answered, began, time.monotonic()


def run(job: Job) -> dict[str, float]:
    start = threading.Barrier(job["clients"])
    tickets = itertools.count()  # next() is atomic
    deadline: list[float] = []

    def more() -> bool:
        if job["seconds"]:
            deadline.append(time.monotonic() + job["seconds"]) if not deadline else None
            return time.monotonic() < deadline[0]
        return next(tickets) < (job["count"] or 0)

    with ThreadPoolExecutor(job["clients"]) as pool:
        running = [pool.submit(worker, job, start, more) for _ in range(job["clients"])]
        done = [future.result() for future in running]
    answered, began, ended = zip(*done, strict=True)
    return {"requests": sum(answered), "seconds": max(ended) - min(began)}


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
