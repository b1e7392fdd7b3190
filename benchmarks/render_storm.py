"""A storm of renders that are not cached, and its effect on a user of the API.

Requests are sent at fixed times, whether or not earlier ones were answered, by a separate process.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import photos
from benchmarks.common import ORGANIZATION, ROOT, Server, installation, jpeg, print_table
from benchmarks.render_hits import multipart, prepare, upload

PER_SECOND = 20  # cold URLs
SMALLEST = 200  # width in pixels; each URL asks for one more
FORMATS = "webp", "avif"
CALM_RATES = {"list": 4, "upload 100 KB": 1, "cached hit": 4}  # per second
TIMEOUT = 60  # seconds
THREADS = 16  # of the server that benchmarks start
CHILD = "from benchmarks import render_storm; render_storm.run_client()"


class Answer(NamedTuple):
    kind: str
    status: int  # 0: no answer
    seconds: float  # since the time at which the request was due


def measure(arguments: argparse.Namespace) -> None:
    with installation(arguments) as installed, installed.server(WEB_THREADS=str(THREADS)) as server:
        folder = Path(installed.environment["DATA_DIR"])
        hit = prepare(server, folder)["stored stack"]
        large = upload(server, photos.jpeg(folder / "large.jpg", 6000, 4000, seed=2))
        file = jpeg(folder / "upload.jpg", 100_000)
        calm_job = {
            "headers": server.headers,
            "requests": {
                "list": {"path": f"/sourceimages/{ORGANIZATION}?limit=1"},
                "upload 100 KB": {"path": f"/sourceimages/{ORGANIZATION}", "file": str(file)},
                "cached hit": {"path": hit},
            },
        }
        collect(start(server, calm_job, CALM_RATES, 5))
        calm = collect(start(server, calm_job, CALM_RATES, arguments.storm_seconds))
        paths = list(cold_paths(large, PER_SECOND * arguments.storm_seconds))
        storm_client = start(server, {"headers": {}, "paths": paths}, {"cold": PER_SECOND}, arguments.storm_seconds)
        stormy = collect(start(server, calm_job, CALM_RATES, arguments.storm_seconds))
        storm = collect(storm_client)
    print_storm(storm)
    print()
    rows = [[kind, *latencies(kind, calm), *latencies(kind, stormy)] for kind in CALM_RATES]
    heads = ["user of the API", "p50, ms", "p95, ms", "failed", "in the storm: p50, ms", "p95, ms", "failed"]
    print_table(heads, rows)


def cold_paths(hash: str, count: int) -> Iterable[str]:
    for number in range(count):
        format = FORMATS[number % len(FORMATS)]
        yield f"/render/{ORGANIZATION}/dynamic/resize-width-{SMALLEST + number}/{hash}.{format}"


def print_storm(answers: list[Answer]) -> None:
    statuses = Counter(answer.status for answer in answers)
    times = [answer.seconds * 1000 for answer in answers if answer.status == 200]
    others = {status: count for status, count in statuses.items() if status not in (200, 429, 503)}
    heads = ["cold URLs", "200", "429", "503", "other", "p50 of 200, ms", "p95, ms"]
    row = [str(len(answers)), *(str(statuses[status]) for status in (200, 429, 503)), str(others or "")]
    print_table(heads, [[*row, f"{percentile(times, 50):.0f}", f"{percentile(times, 95):.0f}"]])


def latencies(kind: str, answers: list[Answer]) -> list[str]:
    times = [answer.seconds * 1000 for answer in answers if answer.kind == kind and answer.status == 200]
    failed = sum(1 for answer in answers if answer.kind == kind and answer.status != 200)
    return [f"{percentile(times, 50):.1f}", f"{percentile(times, 95):.1f}", str(failed)]


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1] if len(values) > 1 else 0.0


# --- The client -------------------------------------------------------------------------------------------------------


def start(server: Server, job: dict[str, Any], rates: dict[str, int], seconds: int) -> "subprocess.Popen[str]":
    """Start a client process that sends requests of each kind at its rate."""
    command = [sys.executable, "-c", CHILD, json.dumps({"port": server.port, "rates": rates, "seconds": seconds})]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return process


def collect(client: "subprocess.Popen[str]") -> list[Answer]:
    printed, _ = client.communicate()
    if client.returncode:
        raise SystemExit("The load failed. See the error above.")
    return [Answer(*answer) for answer in json.loads(printed)]


def run_client() -> None:
    """Run in a subprocess: send the requests of the job on standard input, print the answers."""
    options, job = json.loads(sys.argv[1]), json.load(sys.stdin)
    print(json.dumps(asyncio.run(_send_all(options, job))))


async def _send_all(options: dict[str, Any], job: dict[str, Any]) -> list[Answer]:
    began = time.monotonic() + 0.5
    tasks = []
    for index, (kind, rate) in enumerate(options["rates"].items()):
        for number in range(rate * options["seconds"]):
            due = began + (number + index / len(options["rates"])) / rate
            tasks.append(asyncio.create_task(_send(kind, number, due, options["port"], job)))
    return await asyncio.gather(*tasks)


async def _send(kind: str, number: int, due: float, port: int, job: dict[str, Any]) -> Answer:
    await asyncio.sleep(due - time.monotonic())
    message = _message(kind, number, job)
    try:
        async with asyncio.timeout(TIMEOUT):
            status = await _status(port, message)
    except (OSError, TimeoutError, ValueError, IndexError):
        status = 0
    return Answer(kind, status, time.monotonic() - due)


async def _status(port: int, message: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1])
    finally:
        writer.close()


def _message(kind: str, number: int, job: dict[str, Any]) -> bytes:
    request = job["requests"][kind] if "requests" in job else {"path": job["paths"][number]}
    headers = {"Host": "127.0.0.1", "Connection": "close", **job["headers"]}
    body = b""
    if file := request.get("file"):
        content = Path(file).read_bytes()[:-16] + os.urandom(16)  # never uploaded before
        body, headers["Content-Type"] = multipart(content)
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{'POST' if body else 'GET'} {request['path']} HTTP/1.1\r\n{lines}\r\n".encode() + body
