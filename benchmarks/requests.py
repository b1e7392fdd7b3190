"""CPU time per request: milliseconds of the server and its connections to PostgreSQL.

The servers take turns: that of this checkout, a minimal Django project that keeps the same promises, and with --before
that of another checkout. CPU time is measured instead of elapsed time, so that other load on the machine has little
effect. Rokka already has images, see --images.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.common import (
    MEGABYTE,
    ORGANIZATION,
    ROOT,
    Server,
    baseline,
    installation,
    jpeg,
    options,
    print_table,
)
from benchmarks.jobs import in_child

IMAGES = f"/sourceimages/{ORGANIZATION}"
TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds
FEW = 20  # requests with large files or answers per turn
SIZES = {"100 KB": 100_000, "3 MB": 3 * MEGABYTE, "50 MB": 50 * MEGABYTE}
# Upper bounds per kind: milliseconds, or multiples of the minimal Django project.
AIMS = {
    "upload 100 KB": "2.5 ×",
    "upload 3 MB": "1.3 ×",
    "get one": "1.8 ×",
    "list 100": "15 ms",
    "filter with total": "20 ms",
    "delete one": "9 ms",
    "download 3 MB": "6 ms",
}


class Request(NamedTuple):
    """A request, and the expected status of the response."""

    method: str
    path: str
    body: bytes = b""
    type: str = ""
    status: int = 200


Requests = Iterator[Request]
Files = dict[str, bytes]  # by name of the size


def main(arguments: argparse.Namespace) -> None:
    checkouts = {"this": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    with ExitStack() as stack, tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        files = sample_files(Path(folder))
        servers: dict[str, Measured] = {}
        for name, root in checkouts.items():
            installed = stack.enter_context(installation(arguments, root))
            in_child(installed, "fill", count=arguments.images)
            server = stack.enter_context(installed.server(RATE_LIMIT_ENABLED="false", LOG_LEVEL="WARNING"))
            servers[name] = Measured(server, KINDS, files, rokka_id)
        minimal = stack.enter_context(baseline(arguments))
        servers["minimal"] = Measured(minimal, MINIMAL, files, minimal_id)
        for connections in arguments.connections:
            medians = measure(servers, arguments.runs, arguments.count, connections)
            print(f"\n{connections} {'connection' if connections == 1 else 'connections'}\n")
            print_table(
                ["CPU time per request, ms", *servers, "this / minimal", "aim", "this / before"],
                [
                    [
                        kind,
                        *(f"{found[name]:.1f}" if name in found else "" for name in servers),
                        _ratio(found, "minimal"),
                        AIMS.get(kind, ""),
                        _ratio(found, "before"),
                    ]
                    for kind, found in medians.items()
                ],
            )


def sample_files(folder: Path) -> Files:
    return {name: jpeg(folder / f"{size}.jpg", size).read_bytes() for name, size in SIZES.items()}


def measure(servers: dict[str, "Measured"], runs: int, count: int, connections: int) -> dict[str, dict[str, float]]:
    """The median of the CPU time of each kind of request, by server; servers take turns. The first run is a warm-up."""
    costs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in range(runs + 1):
        for kind in KINDS:
            for name, one in servers.items():
                cost = one.cost_of(kind, count, connections)
                if run and cost is not None:
                    costs[kind][name].append(cost)
    return {kind: {name: statistics.median(values) for name, values in found.items()} for kind, found in costs.items()}


def _ratio(medians: dict[str, float], other: str) -> str:
    return f"{medians['this'] / medians[other]:.2f}" if other in medians else ""


class Measured:
    """A server, and the files uploaded to it."""

    def __init__(self, server: Server, kinds: dict[str, "Kind"], files: Files, id_of: Callable[[bytes], str]) -> None:
        self.server, self.kinds, self.files, self.id_of = server, kinds, files, id_of
        self.contents: list[bytes] = []  # uploaded, small
        self.uploaded: dict[str, list[str]] = defaultdict(list)  # hashes or IDs by name of the size
        self.deleted: list[str] = []

    def cost_of(self, kind: str, count: int, connections: int = 1) -> float | None:
        """CPU time per request in milliseconds; None if this server has no such requests."""
        if kind not in self.kinds:
            return None
        requests = list(self.kinds[kind](self, count))  # build the requests before the measurement
        parts = [requests[number::connections] for number in range(min(connections, len(requests)))]
        before = self.computed()
        with ThreadPoolExecutor(len(parts)) as pool:
            answers = list(pool.map(self.send_all, parts))
        cost = (self.computed() - before) / len(requests)
        if kind.startswith("upload ") and "known" not in kind:
            size = kind.removeprefix("upload ")
            self.uploaded[size] += map(self.id_of, itertools.chain.from_iterable(answers))
        return cost

    def send_all(self, requests: list[Request]) -> list[bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            return [self.send(connection, request) for request in requests]

    def send(self, connection: http.client.HTTPConnection, request: Request) -> bytes:
        headers = self.server.headers | ({"Content-Type": request.type} if request.type else {})
        connection.request(request.method, request.path, body=request.body or None, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != request.status:
            raise SystemExit(f"{request.method} {request.path}: {answer.status} {content[:300]!r}")
        return content

    def computed(self) -> float:
        """Total CPU time of the server, its child processes and its connections to PostgreSQL, in milliseconds."""
        pids = {int(path.name) for path in Path("/proc").glob("[0-9]*") if _session(path) == self.server.process.pid}
        pids |= self.readers(pids)
        if self.server.database_url:
            with psycopg.connect(self.server.database_url) as postgres:
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

Kind = Callable[[Measured, int], Requests]


def upload(content: bytes, path: str = IMAGES, field: str = "filedata") -> Request:
    boundary = "benchmark"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="image.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Request("POST", path, body, f"multipart/form-data; boundary={boundary}")


def changed(content: bytes) -> bytes:
    """The file with other bytes after the end of the image."""
    return content[:-16] + secrets.token_bytes(16)


def rokka_id(answer: bytes) -> str:
    return str(json.loads(answer)["items"][0]["hash"])


def new(measured: Measured, count: int) -> Requests:
    for _ in range(count):
        content = changed(measured.files["100 KB"])
        measured.contents.append(content)
        yield upload(content)


def known(measured: Measured, count: int) -> Requests:
    return map(upload, measured.contents[-count:])


def large(size: str, path: str = IMAGES) -> Kind:
    return lambda measured, count: (
        upload(changed(measured.files[size]), path) for _ in range(3 if size == "50 MB" else FEW)
    )


def get(measured: Measured, count: int) -> Requests:
    return (Request("GET", f"{IMAGES}/{hash}") for hash in measured.uploaded["100 KB"][-count:])


def listing(measured: Measured, count: int) -> Requests:
    return itertools.repeat(Request("GET", f"{IMAGES}?limit=100"), FEW)


def filtered(measured: Measured, count: int) -> Requests:
    return itertools.repeat(Request("GET", f"{IMAGES}?limit=20&format=jpg"), FEW)


def download(size: str) -> Kind:
    return lambda measured, count: (
        Request("GET", f"{IMAGES}/{hash}/download") for hash in measured.uploaded[size][-FEW:]
    )


def metadata(measured: Measured, count: int) -> Requests:
    for hash in measured.uploaded["100 KB"][-count:]:
        body = json.dumps({"title": secrets.token_hex(8)}).encode()
        yield Request("PATCH", f"{IMAGES}/{hash}/meta/user", body, "application/json", 204)


def delete(measured: Measured, count: int) -> Requests:
    measured.deleted = measured.uploaded["100 KB"][-count:]
    return (Request("DELETE", f"{IMAGES}/{hash}", status=204) for hash in measured.deleted)


def restore(measured: Measured, count: int) -> Requests:
    return (Request("POST", f"{IMAGES}/{hash}/restore") for hash in measured.deleted)


KINDS: dict[str, Kind] = {
    "upload 100 KB": new,
    "upload 100 KB, known": known,
    "upload 3 MB": large("3 MB"),
    "upload 50 MB": large("50 MB"),
    "get one": get,
    "list 100": listing,
    "filter with total": filtered,
    "download 100 KB": download("100 KB"),
    "download 3 MB": download("3 MB"),
    "change user metadata": metadata,
    "delete one": delete,
    "restore one": restore,
}

# --- The same of the minimal Django project ---------------------------------------------------------------------------

DURABLY = "/upload-durably"


def minimal_id(answer: bytes) -> str:
    return str(json.loads(answer)["id"])


def minimal_get(size: str, end: str = "") -> Kind:
    return lambda measured, count: (
        Request("GET", f"/images/{pk}{end}") for pk in measured.uploaded[size][-(FEW if end else count) :]
    )


MINIMAL: dict[str, Kind] = {
    "upload 100 KB": lambda measured, count: (upload(changed(measured.files["100 KB"]), DURABLY) for _ in range(count)),
    "upload 3 MB": large("3 MB", DURABLY),
    "upload 50 MB": large("50 MB", DURABLY),
    "get one": minimal_get("100 KB"),
    "download 100 KB": minimal_get("100 KB", "/download"),
    "download 3 MB": minimal_get("3 MB", "/download"),
}


def parser() -> argparse.ArgumentParser:
    made: Any = options(__doc__ or "")
    made.add_argument("--count", type=int, default=200, help="requests per kind and turn (default 200)")
    made.add_argument("--connections", type=int, nargs="+", default=[1], help="concurrent connections (default 1)")
    made.add_argument("--images", type=int, default=20_000, help="images that rokka already has (default 20000)")
    made.add_argument("--before", type=Path, help="another checkout of the project, with the same .venv")
    return made


if __name__ == "__main__":
    main(parser().parse_args())
