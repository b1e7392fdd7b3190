"""The cost of starting processes: CPU seconds, seconds and memory.

Commands are measured until they end, a server and a worker, with one child process each, until they are ready. The
worker requires --redis-url. CPU time is that of all processes. Memory is that of the largest process: the peak of a
command, and what the idle server or worker uses, as resident set size, which includes pages that processes share, and
as proportional set size, which divides them. The first run, which writes byte code, does not count. `minimal Django`
is Django's check of a project with only the admin and Django REST Framework.
"""

import argparse
import http.client
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import MEGABYTE, ROOT, START_TIMEOUT, Installation, installation, options, print_table

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
PAUSE = 0.05  # seconds between two looks at a process that starts
MINIMAL = """
from django.conf import settings
from django.core.management import call_command

apps = ["admin", "auth", "contenttypes", "sessions", "messages"]
settings.configure(
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in apps), "rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SILENCED_SYSTEM_CHECKS=["admin.E403", "admin.E408", "admin.E409", "admin.E410"],
)
import django

django.setup()
import rest_framework.viewsets

call_command("check", verbosity=0)
"""
WEB = ["--interface", "wsgi", "--host", "127.0.0.1", "--workers", "1", "--blocking-threads", "16", "--http", "1"]
WEB += ["--no-ws", "--backlog", "4096", "--backpressure", "16384", "--log-level", "error", "rokka.wsgi:application"]
WORKER = ["--quiet", "-A", "rokka", "worker", "-Q", "interactive,bulk,maintenance", "--concurrency", "1"]


class Cost(NamedTuple):
    cpu: float  # seconds
    seconds: float
    resident: float  # MB
    proportional: float | None = None  # MB


Start = Callable[[Installation], Cost]


def main(arguments: argparse.Namespace) -> None:
    checkouts = {"this": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    starts = {name: start for name, start in STARTS.items() if name != "worker" or arguments.redis_url}
    with ExitStack() as stack:
        installed = {name: stack.enter_context(installation(arguments, root)) for name, root in checkouts.items()}
        for run in range(arguments.runs + 1):  # the first run reads and compiles files
            for name, start in starts.items():
                for checkout, one in installed.items():
                    if name != "minimal Django" or checkout == "this":
                        cost = start(one)
                        if run:
                            costs[name, checkout].append(cost)
    print_table(
        ["process", "checkout", "CPU seconds", "seconds", "resident MB", "proportional MB"],
        [[name, checkout, *_medians(found)] for (name, checkout), found in costs.items()],
    )


def _medians(costs: list[Cost]) -> Iterator[str]:
    for values, digits in zip(zip(*costs, strict=True), (2, 2, 0, 0), strict=True):
        known = [value for value in values if value is not None]
        yield f"{statistics.median(known):.{digits}f}" if known else ""


# --- Kinds of processes -----------------------------------------------------------------------------------------------


def command(*arguments: str) -> Start:
    """A command that ends."""

    def start(installed: Installation) -> Cost:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=installed.root, env=installed.environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{arguments} failed.")
        return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss * 1024 / MEGABYTE)

    return start


def web(installed: Installation) -> Cost:
    """A web process, until /health/ready answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def is_ready() -> bool:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.client.OK
        return False

    with _started(installed, "granian", "--port", str(port), *WEB) as process:
        return _cost_until(is_ready, process)


def worker(installed: Installation) -> Cost:
    """A worker, until it says that it is ready."""
    log = Path(installed.environment["DATA_DIR"], "log")
    with _started(installed, "celery", *WORKER) as process:
        return _cost_until(lambda: " ready." in log.read_text(), process)


@contextmanager
def _started(installed: Installation, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, which is stopped at the end."""
    path = Path(sys.executable).parent / program
    with Path(installed.environment["DATA_DIR"], "log").open("wb") as log:
        process = subprocess.Popen(
            [str(path), *arguments],
            cwd=installed.root,
            env=installed.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=START_TIMEOUT)


def _cost_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> Cost:
    began = time.monotonic()
    while not is_ready():
        if process.poll() is not None or time.monotonic() > began + START_TIMEOUT:
            raise SystemExit(f"{process.args!r} failed to start.")
        time.sleep(PAUSE)
    seconds = time.monotonic() - began
    cpu, memory = 0.0, [(0.0, 0.0)]
    for pid in _tree(process.pid):
        with suppress(OSError):  # it has exited
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, fields[11:15])) * TICK
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            resident, proportional = (
                int(value) * 1024 / MEGABYTE for value in re.findall(r"^[RP]ss: +(\d+)", rollup, re.MULTILINE)
            )
            memory.append((resident, proportional))
    return Cost(cpu, seconds, *max(memory))


def _tree(root: int) -> list[int]:
    """The process and its descendants, some of which are in sessions of their own."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


STARTS: dict[str, Start] = {
    "minimal Django": command("-c", MINIMAL),
    "manage.py check": command("manage.py", "check"),
    "manage.py list_organizations": command("manage.py", "list_organizations"),
    "web": web,
    "worker": worker,
}


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--before", type=Path, help="another checkout of the project, with the same .venv")
    main(parser.parse_args())
