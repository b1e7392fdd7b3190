"""CPU time of requests that the cache of renders answers, compared with nginx serving the same file.

CPU time is that of all processes of the server, and of the database's connections beside it.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from benchmarks import photos
from benchmarks.common import ORGANIZATION, Installation, Server, installation, print_table
from benchmarks.render_engines import accepts, free_port, process_seconds, wait_for

CONNECTIONS = 8
WARM_UP_SECONDS = 2
AIM = 0.8  # milliseconds
STACK = {"operations": [{"name": "resize", "options": {"width": 400}}]}
NGINX = """
daemon off;
master_process off;
error_log {folder}/nginx-error.log;
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log {folder}/nginx-access.log;
    client_body_temp_path {folder}/nginx-temp;
    sendfile on;
    default_type image/webp;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
    }}
}}
"""


def measure(arguments: argparse.Namespace) -> None:
    if not shutil.which("wrk"):
        print("wrk is missing; a Python client is used. Install it with: apt-get install wrk")
    rows = _rokka_rows("SQLite", arguments, None)
    if arguments.database_url:
        rows += _rokka_rows("PostgreSQL", arguments, arguments.database_url)
    rows += _nginx_rows(arguments)
    print_table(["cached hits, 8 connections", "CPU, ms", "database, ms", "requests per second", "goal"], rows)


def _rokka_rows(name: str, arguments: argparse.Namespace, database_url: str | None) -> list[list[str]]:
    options = argparse.Namespace(**{**vars(arguments), "database_url": database_url})
    costs: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with installation(options) as installed, installed.server() as server:
        paths = prepare(server, Path(installed.environment["DATA_DIR"]))
        for number in range(arguments.runs + 1):
            for kind, path in paths.items():
                seconds = arguments.seconds if number else WARM_UP_SECONDS
                cost = cost_of(server, path, seconds, lambda: _database_seconds(installed))
                if number:
                    costs[kind].append(cost)
    return [_row(f"{kind}, {name}", found, AIM) for kind, found in costs.items()]


def prepare(server: Server, folder: Path) -> dict[str, str]:
    """Upload an image, save a stack and render both URLs once. Returns their paths."""
    hash = upload(server, photos.jpeg(folder / "photo.jpg", 3000, 2000))
    request(server, "PUT", f"/stacks/{ORGANIZATION}/hit", json.dumps(STACK).encode(), status=201)
    paths = {
        "stored stack": f"/render/{ORGANIZATION}/hit/{hash}.webp",
        "dynamic URL": f"/render/{ORGANIZATION}/dynamic/resize-width-400/{hash}.webp",
    }
    for path in paths.values():
        request(server, "GET", path)
    return paths


def request(
    server: Server, method: str, path: str, body: bytes = b"", type: str = "application/json", *, status: int = 200
) -> bytes:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, body or None, server.headers | {"Content-Type": type})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != status:
        raise SystemExit(f"{method} {path}: {answer.status} {content[:300]!r}")
    return content


def upload(server: Server, path: Path) -> str:
    """Returns the hash."""
    answer = request(server, "POST", f"/sourceimages/{ORGANIZATION}", *multipart(path.read_bytes()))
    return str(json.loads(answer)["items"][0]["hash"])


def multipart(content: bytes) -> tuple[bytes, str]:
    boundary = "benchmark"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="filedata"; filename="image.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def cost_of(
    server: Server, path: str, seconds: float, database: Callable[[], float] = lambda: 0.0
) -> tuple[float, float, float]:
    """Milliseconds of CPU time per request, those of the database, and requests per second."""
    before, database_before = session_seconds(server.process.pid), database()
    count = hits(server, path, seconds)
    used, used_by_database = session_seconds(server.process.pid) - before, database() - database_before
    return used * 1000 / count, used_by_database * 1000 / count, count / seconds


def hits(server: Server, path: str, seconds: float) -> int:
    """The number of requests of 8 connections."""
    if not shutil.which("wrk"):
        return round(replace(server, headers={}).load(path, clients=CONNECTIONS, seconds=seconds) * seconds)
    url = f"http://127.0.0.1:{server.port}{path}"
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:.0f}s", url]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"The load failed:\n{printed}")
    found = re.search(r"(\d+) requests in", printed)
    assert found, printed
    return int(found[1])


def session_seconds(leader: int) -> float:
    """CPU seconds of the processes of a session. Probe and render workers have sessions of their own."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.getsid(int(path.name)) == leader:
                total += process_seconds(int(path.name))
    return total


def _database_seconds(installed: Installation) -> float:
    """CPU seconds of the server's connections to PostgreSQL, if it runs on this machine."""
    url = installed.environment.get("DATABASE_URL")
    if not url:
        return 0.0
    with psycopg.connect(url) as postgres:
        found = postgres.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    total = 0.0
    for (pid,) in found:
        with suppress(OSError):  # a worker of autovacuum that has ended
            total += process_seconds(pid)
    return total


def _row(name: str, costs: list[tuple[float, float, float]], aim: float | None = None) -> list[str]:
    cpu, database, rate = (statistics.median(values) for values in zip(*costs, strict=True))
    verdict = f"≤ {aim:g}: {'met' if cpu <= aim else 'MISSED'}" if aim else ""
    return [name, f"{cpu:.3f}", f"{database:.3f}" if database else "", f"{rate:,.0f}", verdict]


# --- nginx ------------------------------------------------------------------------------------------------------------


def _nginx_rows(arguments: argparse.Namespace) -> list[list[str]]:
    if not shutil.which("nginx"):
        print("nginx is missing. Install it with: apt-get install nginx-light")
        return []
    with TemporaryDirectory(prefix="benchmark-nginx-", dir=arguments.directory) as name:
        folder = Path(name)
        photos.photo(400, 267).webpsave(str(folder / "image.webp"), Q=80)
        with _nginx(folder) as server:
            cost_of(server, "/image.webp", WARM_UP_SECONDS)
            costs = [cost_of(server, "/image.webp", arguments.seconds) for _ in range(arguments.runs)]
    return [_row("nginx, static file", costs)]


@contextmanager
def _nginx(folder: Path) -> Iterator[Server]:
    folder.chmod(0o755)
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen(["nginx", "-c", configuration], start_new_session=True)
    try:
        if not wait_for(lambda: accepts(port), process):
            raise SystemExit("nginx does not start. See the error above.")
        yield Server(port, process, {})
    finally:
        process.terminate()
        process.wait()
