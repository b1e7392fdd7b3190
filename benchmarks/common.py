"""Shared code of the benchmarks: server processes, load, comparisons and tables."""

import argparse
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ORGANIZATION = "benchmark"
START_TIMEOUT = 30  # seconds
MEGABYTE = 1_000_000
TOUCHED_BYTES = 1000 * MEGABYTE  # more than any measurement uses


def options(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=3, help="number of runs; tables show the median (default 3)")
    parser.add_argument("--seconds", type=float, default=2, help="seconds per measurement (default 2)")
    parser.add_argument("--database-url", help="postgres://user@host:port/NAME; creates and drops databases NAME_…")
    parser.add_argument("--redis-url", default="", help="redis://host:port/number (default none)")
    parser.add_argument("--directory", help="directory for data (default /tmp, which may be in memory)")
    return parser


# --- Servers ----------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server process, and the headers its clients send."""

    port: int
    process: subprocess.Popen[bytes]
    headers: dict[str, str]
    database_url: str = ""  # empty for SQLite

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=self.headers)
            return json.load(connection.getresponse())

    def load(
        self,
        *paths: str,
        clients: int = 1,
        count: int | None = None,
        seconds: float | None = None,
        file: Path | None = None,
    ) -> float:
        """Measure requests per second: GET of the paths, or uploads of the file, which is changed for each request."""
        job = {"port": self.port, "headers": self.headers, "paths": paths, "file": str(file) if file else None}
        job |= {"clients": clients, "count": count, "seconds": seconds}
        if file:
            settle()
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.client"],
            check=False,
            cwd=ROOT,
            input=json.dumps(job),
            text=True,
            stdout=subprocess.PIPE,
        )
        if ran.returncode:
            raise SystemExit("The load failed. See the error above.")
        result = json.loads(ran.stdout)
        return float(result["requests"] / result["seconds"])

    def peak_memory(self) -> tuple[int, list[int]]:
        """Peak memory of the web process and of each of its probe workers, in bytes."""
        peaks, parents, probing = {}, {}, []
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # it has exited
                facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
                pid = int(facts["Pid"])
                peaks[pid] = int(facts.get("VmHWM", "0 kB").split()[0]) * 1024
                parents[pid] = int(facts["PPid"])
                if b"\0readers\0" in (status.parent / "cmdline").read_bytes():
                    probing.append(pid)
        ours = [pid for pid in probing if parents.get(parents[pid]) == self.process.pid]
        return peaks[parents[ours[0]]], sorted(peaks[pid] for pid in ours)


def settle() -> None:
    """Make measurements independent of each other: flush writes to the disk, and touch memory.

    In a virtual machine, the first write to a memory page takes several times as long, so that the first measurement
    would be slower than the second.
    """
    os.sync()
    memory = bytearray(b"1") * TOUCHED_BYTES
    del memory


@dataclass
class Installation:
    """A rokka installation with an organization. Several servers can share its database and files."""

    environment: dict[str, str]
    headers: dict[str, str]
    root: Path = ROOT  # of the checkout to run

    @contextlib.contextmanager
    def server(self, application: str = "rokka.wsgi:application", **variables: str) -> Iterator[Server]:
        """Start a server like bin/run, with additional environment variables."""
        with _server(application, self.environment | variables, self.root) as (port, process):
            yield Server(port, process, self.headers, self.environment.get("DATABASE_URL", ""))


@contextlib.contextmanager
def installation(arguments: argparse.Namespace, root: Path = ROOT) -> Iterator[Installation]:
    with database(arguments, "rokka") as environment:
        python = [sys.executable, "manage.py"]
        subprocess.run([*python, "migrate", "--verbosity", "0"], cwd=root, env=environment, check=True)
        create = [*python, "create_organization", ORGANIZATION, "--email", "alice@example.org", "--json"]
        created = subprocess.run(create, cwd=root, env=environment, check=True, stdout=subprocess.PIPE)
        yield Installation(environment, {"Api-Key": json.loads(created.stdout)["api_key"]}, root)


@contextlib.contextmanager
def rokka(arguments: argparse.Namespace) -> Iterator[Server]:
    """A server of rokka without rate limits."""
    with installation(arguments) as installed, installed.server(RATE_LIMIT_ENABLED="false") as server:
        yield server


@contextlib.contextmanager
def baseline(arguments: argparse.Namespace) -> Iterator[Server]:
    """The minimal Django project, on the same HTTP server and a database of the same type."""
    with database(arguments, "baseline") as environment:
        environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.baseline.settings"
        migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
        with _server("benchmarks.baseline.wsgi:application", environment) as (port, process):
            yield Server(port, process, {}, environment.get("DATABASE_URL", ""))


@contextlib.contextmanager
def database(arguments: argparse.Namespace, name: str) -> Iterator[dict[str, str]]:
    """A temporary folder and database."""
    with tempfile.TemporaryDirectory(prefix=f"benchmark-{name}-", dir=arguments.directory) as folder:
        environment = {"PATH": os.environ["PATH"], "ROKKA_MODE": "standalone", "DATA_DIR": folder}
        environment |= {"REDIS_URL": arguments.redis_url}
        if not arguments.database_url:
            yield environment
            return
        server, _, database = arguments.database_url.rpartition("/")
        own = f"{database}_{name}_{secrets.token_hex(4)}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as postgres:
            postgres.execute(f'CREATE DATABASE "{own}"')
            try:
                yield environment | {"DATABASE_URL": f"{server}/{own}"}
            finally:
                postgres.execute(f'DROP DATABASE "{own}" WITH (FORCE)')


@contextlib.contextmanager
def _server(
    application: str, environment: dict[str, str], root: Path = ROOT
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    command = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--workers", "1", "--blocking-threads", "16", "--no-ws"]
    command += ["--http", "1", "--backlog", "4096", "--backpressure", "16384"]
    command += ["--log-level", "warning", application]
    with server_process(command, environment, root) as started:
        yield started


@contextlib.contextmanager
def server_process(
    command: list[str],
    environment: dict[str, str],
    root: Path,
    *,
    seconds: float = START_TIMEOUT,
    port_name: str = "GRANIAN_PORT",
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server on a free port, which is in the environment variable `port_name`; stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = environment | {port_name: str(port)}
    path = Path(environment["DATA_DIR"], f"log-{port}")
    with path.open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + seconds
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} failed to start:\n{path.read_text()[-3000:]}")
            time.sleep(0.05)
        yield port, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


# --- Images -----------------------------------------------------------------------------------------------------------


def jpeg(path: Path, size: int) -> Path:
    """A JPEG of noise with exactly this size, including a few bytes after its end that the client changes."""
    side = int((size / 0.8) ** 0.5)  # noise takes 0.73 to 0.77 bytes per pixel
    Image.effect_noise((side, side), 64).save(path, "JPEG", quality=90)
    with path.open("ab") as file:
        file.write(os.urandom(size - path.stat().st_size))
    return path


# --- Results ----------------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Rokka compared with a baseline, measured alternately. The ratio is the median, shown with its range."""

    name: str
    unit: str
    beside: str = ""
    aim: float | None = None
    bound: bool = False  # the baseline is an upper bound
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=False)]

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    def cells(self) -> list[str]:
        ours, theirs = (f"{statistics.median(values):,.0f}" if values else "" for values in (self.ours, self.theirs))
        ratio = "" if self.ratio is None else f"{self.ratio:.2f} ({min(self.ratios):.2f}–{max(self.ratios):.2f})"
        verdict = ""
        if self.bound and self.ratio is not None and self.ratio > 1:
            verdict = "above the upper bound: invalid measurement"
        elif self.aim is not None and self.ratio is not None:
            verdict = f"≥ {self.aim}: {'met' if self.ratio >= self.aim else 'MISSED'}"
        return [self.name, self.unit, ours, theirs, self.beside, ratio, verdict]


def print_comparisons(comparisons: list[Comparison]) -> None:
    heads = ["measured", "unit", "rokka", "beside", "which is", "ratio (lowest–highest)", "aim"]
    print_table(heads, [comparison.cells() for comparison in comparisons])


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [heads, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
