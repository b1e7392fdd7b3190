"""CPU time per request: milliseconds of the server and its connections to PostgreSQL.

Requests are sent one after the other, alternately to the servers of two checkouts: this one and the one of --before.
CPU time is measured instead of elapsed time, so that other load on the machine has little effect.
"""

import argparse
import http.client
import itertools
import json
import os
import secrets
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.common import MEGABYTE, ORGANIZATION, ROOT, Server, installation, jpeg, options, print_table

IMAGES = f"/sourceimages/{ORGANIZATION}"
TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds
FEW = 20  # requests with large files per turn


class Request(NamedTuple):
    """A request, and the expected status of the response."""

    method: str
    path: str
    body: bytes = b""
    type: str = ""
    status: int = 200


Requests = Iterator[Request]


def main(arguments: argparse.Namespace) -> None:
    checkouts = {"this": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    costs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack, tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        files = {size: jpeg(Path(folder, f"{size}.jpg"), size).read_bytes() for size in (100_000, 3 * MEGABYTE)}
        measured = {}
        for name, root in checkouts.items():
            installed = stack.enter_context(installation(arguments, root))
            server = stack.enter_context(installed.server(RATE_LIMIT_ENABLED="false", LOG_LEVEL="WARNING"))
            measured[name] = Measured(server, installed.environment.get("DATABASE_URL"), files)
        for run in range(arguments.runs + 1):  # the first run is a warm-up
            for kind in KINDS:
                for name, one in measured.items():
                    cost = one.cost_of(kind, arguments.count)
                    if run:
                        costs[kind][name].append(cost)
    rows = []
    for kind, found in costs.items():
        medians = {name: statistics.median(values) for name, values in found.items()}
        ratio = f"{medians['this'] / medians['before']:.2f}" if "before" in medians else ""
        rows.append([kind, f"{medians['this']:.1f}", f"{medians['before']:.1f}" if ratio else "", ratio])
    print_table(["CPU time per request, ms", "this", "before", "ratio"], rows)


class Measured:
    """A server, and the files uploaded to it."""

    def __init__(self, server: Server, database_url: str | None, files: dict[int, bytes]) -> None:
        self.server, self.files = server, files
        self.database_url = database_url
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.contents: list[bytes] = []  # uploaded, small
        self.hashes: list[str] = []
        self.deleted: list[str] = []

    def cost_of(self, kind: str, count: int) -> float:
        """CPU time per request in milliseconds."""
        requests = list(KINDS[kind](self, count))  # build the requests before the measurement
        before = self.computed()
        answers = [self.send(request) for request in requests]
        cost = (self.computed() - before) / len(requests)
        if kind == "upload 100 KB, new":
            self.hashes += [json.loads(answer)["items"][0]["hash"] for answer in answers]
        return cost

    def send(self, request: Request) -> bytes:
        headers = self.server.headers | ({"Content-Type": request.type} if request.type else {})
        self.connection.request(request.method, request.path, body=request.body or None, headers=headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != request.status:
            raise SystemExit(f"{request.method} {request.path}: {answer.status} {content[:300]!r}")
        return content

    def computed(self) -> float:
        """Total CPU time of the server, its child processes and its connections to PostgreSQL, in milliseconds."""
        pids = {int(path.name) for path in Path("/proc").glob("[0-9]*") if _session(path) == self.server.process.pid}
        pids |= self.readers(pids)
        if self.database_url:
            with psycopg.connect(self.database_url) as postgres:
                found = postgres.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                pids |= {pid for (pid,) in found}
        return sum(map(_computed, pids))

    def readers(self, parents: set[int]) -> set[int]:
        """The probe workers, each of which is a session leader."""
        return {int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) in parents}


def _stat(process: Path) -> list[str]:
    """The fields of /proc/PID/stat, starting with the state; empty if the process has exited."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _session(process: Path) -> int | None:
    return int(fields[3]) if (fields := _stat(process)) else None


def _parent(process: Path) -> int | None:
    return int(fields[1]) if (fields := _stat(process)) else None


def _computed(pid: int) -> float:
    fields = _stat(Path("/proc", str(pid)))
    return (int(fields[11]) + int(fields[12])) * TICK if fields else 0


# --- Kinds of requests ------------------------------------------------------------------------------------------------


def upload(content: bytes) -> Request:
    boundary = "benchmark"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="filedata"; filename="image.jpg"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Request("POST", IMAGES, body, f"multipart/form-data; boundary={boundary}")


def new(measured: Measured, count: int) -> Requests:
    for _ in range(count):
        content = measured.files[100_000][:-16] + secrets.token_bytes(16)
        measured.contents.append(content)
        yield upload(content)


def known(measured: Measured, count: int) -> Requests:
    return map(upload, measured.contents[-count:])


def large(measured: Measured, count: int) -> Requests:
    content = measured.files[3 * MEGABYTE]
    return (upload(content[:-16] + secrets.token_bytes(16)) for _ in range(FEW))


def get(measured: Measured, count: int) -> Requests:
    return (Request("GET", f"{IMAGES}/{hash}") for hash in measured.hashes[-count:])


def listing(measured: Measured, count: int) -> Requests:
    return itertools.repeat(Request("GET", f"{IMAGES}?limit=100"), FEW)


def download(measured: Measured, count: int) -> Requests:
    return (Request("GET", f"{IMAGES}/{hash}/download") for hash in measured.hashes[-count:])


def metadata(measured: Measured, count: int) -> Requests:
    for hash in measured.hashes[-count:]:
        body = json.dumps({"title": secrets.token_hex(8)}).encode()
        yield Request("PATCH", f"{IMAGES}/{hash}/meta/user", body, "application/json", 204)


def delete(measured: Measured, count: int) -> Requests:
    measured.deleted = measured.hashes[-count:]
    return (Request("DELETE", f"{IMAGES}/{hash}", status=204) for hash in measured.deleted)


def restore(measured: Measured, count: int) -> Requests:
    return (Request("POST", f"{IMAGES}/{hash}/restore") for hash in measured.deleted)


KINDS: dict[str, Callable[[Measured, int], Requests]] = {
    "upload 100 KB, new": new,
    "upload 100 KB, known": known,
    "upload 3 MB, new": large,
    "get one": get,
    "list 100": listing,
    "download 100 KB": download,
    "change user metadata": metadata,
    "delete one": delete,
    "restore one": restore,
}


def parser() -> argparse.ArgumentParser:
    made: Any = options(__doc__ or "")
    made.add_argument("--count", type=int, default=200, help="requests per kind and turn (default 200)")
    made.add_argument("--before", type=Path, help="another checkout of the project, with the same .venv")
    return made


if __name__ == "__main__":
    main(parser().parse_args())
