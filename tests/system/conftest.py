"""Real server processes, each with a database and a folder of its own, as an operator would start them."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
from django.conf import settings
from django.db import connection
from psycopg import sql

from tests.support import commands

STARTING = 30  # seconds
SHORT_GRACE_TIME = "from tests.support.storage import set_grace_time; set_grace_time(1)"


@dataclass
class Server:
    """A rokka with an organization acme. `api_key` is its admin's."""

    environment: dict[str, str]
    api_key: str
    port: int
    process: commands.Started | None = None
    log: Path = field(default_factory=Path)
    application: str = "rokka.wsgi:application"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["DATA_DIR"])

    def after_grace_time(self) -> "Server":
        """The same rokka, for which what was stored until now is no upload under way any more.

        The value in the database is below the floor, where only tests write one. Uploads go on to be given half of the
        floor, or they would be refused when they take half a second.
        """
        done = self.manage("shell", "--verbosity", "0", "-c", SHORT_GRACE_TIME)
        assert done.returncode == 0, done.stderr
        whole_seconds = self.environment.get("STORAGE_URL", "").startswith("s3://")  # of the clock of S3
        time.sleep(2.1 if whole_seconds else 1.1)
        return self

    def start(
        self, *, seconds: float = STARTING, path: str = "/health/ready", prepare: Callable[[], None] | None = None
    ) -> "Server":
        """Start the server process and return when it is ready, or fail after so many seconds."""
        arguments = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--blocking-threads", "16", "--http", "1", "--no-ws", "--backlog", "4096"]
        arguments += ["--backpressure", "16384", self.application]
        self.process = commands.start("granian", arguments, self.environment, self.log, prepare=prepare)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}{path}", timeout=5).status_code == 200:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Kill the server and everything it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def memory(self) -> int:
        """The most bytes that a process of the server has held in memory."""
        peak = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process}/status").read_text()
                fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                peak = max(peak, int(fields["VmHWM"].split()[0]) * 1024)
        return peak

    def processes(self) -> list[int]:
        """The ids of the processes of the server, without the sandboxed workers, which have sessions of their own."""
        assert self.process is not None
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(folder.name)) == self.process.pid:
                    found.append(int(folder.name))
        return found

    def manage(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a management command with the server's settings, and what is typed at it."""
        return commands.manage(arguments, self.environment, typed)

    def session(self) -> requests.Session:
        session = requests.Session()
        session.headers["Api-Key"] = self.api_key
        return session

    def upload(self, *contents: bytes, session: requests.Session | None = None, **fields: str) -> requests.Response:
        files = [("filedata", (f"{position}.png", content)) for position, content in enumerate(contents)]
        return (session or self.session()).post(f"{self.url}/sourceimages/acme", files=files, data=fields, timeout=60)


def places(names: Iterable[str], differing: Collection[str]) -> list[Any]:
    """Parameters for all of these; of those where databases do not differ the tests run with one only."""
    return [name if name in differing else pytest.param(name, marks=pytest.mark.any_database) for name in names]


@dataclass
class Worker:
    """A Celery worker with one child that does the tasks."""

    process: commands.Started
    log: Path

    def kill_child(self) -> None:
        """Kill the child, which the worker replaces, unless it is just being replaced."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def children_killed(self) -> int:
        return self.log.read_text().count("signal 9 (SIGKILL)")


@contextlib.contextmanager
def worker(server: Server, *queues: str, app: str = "rokka", **variables: str) -> Iterator[Worker]:
    """A worker that is ready, and is killed at the end."""
    log = server.data_dir / f"worker{time.monotonic()}"
    arguments = ["-A", app, "worker", "--concurrency", "1", "-Q", ",".join(queues)]
    arguments += ["--without-mingle", "--without-gossip"]  # which only take time at the start
    log.touch()
    process = commands.start("celery", arguments, server.environment | variables, log)
    started = Worker(process, log)
    try:
        assert until(lambda: " ready." in log.read_text()), log.read_text()
        yield started
    finally:
        started.kill()


def until(condition: Callable[[], object], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SQLite:
    """A migrated database to copy, and the copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = f"sqlite:///{folder}/template.sqlite3"

    def copy(self) -> str:
        name = f"{secrets.token_hex(6)}.sqlite3"
        for file in self.folder.glob("template.sqlite3*"):
            shutil.copy(file, self.folder / file.name.replace("template.sqlite3", name))
        return f"sqlite:///{self.folder}/{name}"

    def drop(self, url: str) -> None:
        pass  # the folder is removed as a whole


class PostgreSQL:
    def __init__(self, folder: Path) -> None:
        self.prefix = f"rokka_outside_{os.getpid()}_{secrets.token_hex(3)}"
        self.template = self._url(f"{self.prefix}_template")
        self._run("CREATE DATABASE {}", f"{self.prefix}_template")

    def _url(self, name: str) -> str:
        database = settings.DATABASES["default"]
        login = f"{database['USER']}:{database['PASSWORD']}" if database["PASSWORD"] else database["USER"]
        return f"postgres://{login}@{database['HOST']}:{database['PORT'] or 5432}/{name}"

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as server:
            server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def copy(self) -> str:
        name = f"{self.prefix}_{secrets.token_hex(4)}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, f"{self.prefix}_template")
        return self._url(name)

    def drop(self, url: str) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", url.rpartition("/")[2])


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What every server process needs to know, and nothing that was meant for pytest."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    queue = {"REDIS_URL": settings.REDIS_URL_OF_SERVERS} if settings.REDIS_URL_OF_SERVERS else {}
    return kept | queue | {"ROKKA_MODE": "standalone", "SANDBOX": "required"}


@pytest.fixture(scope="module")
def queue() -> Iterator[str]:
    """REDIS_URL of servers and workers, with an empty database behind it."""
    url = settings.REDIS_URL_OF_SERVERS
    if not url:
        pytest.skip("REDIS_URL is not set: tasks on a worker were left out")
    connection = redis.Redis.from_url(url)
    connection.flushdb()
    yield url
    connection.flushdb()


@pytest.fixture(scope="session")
def database(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[tuple[SQLite | PostgreSQL, str]]:
    """A migrated database with the organization acme, to copy from, and the key of its admin."""
    folder = tmp_path_factory.mktemp("outside")
    database = PostgreSQL(folder) if connection.vendor == "postgresql" else SQLite(folder)
    variables = environment | {"DATABASE_URL": database.template, "DATA_DIR": str(folder)}

    def manage(*arguments: str) -> str:
        done = commands.manage(arguments, variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    manage("migrate", "--verbosity", "0")
    new = json.loads(manage("create_organization", "acme", "--email", "alice@example.org", "--json"))
    yield database, new["api_key"]
    database.drop(database.template)


@contextlib.contextmanager
def servers(
    database: tuple[SQLite | PostgreSQL, str], environment: dict[str, str], folders: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Makes servers that are not started yet; all are gone at the end."""
    (copies, api_key), made = database, []

    def make(*, processes: int = 1, **variables: str) -> Server:
        folder = folders.mktemp("server")
        own = {"DATABASE_URL": copies.copy(), "DATA_DIR": str(folder), "GRANIAN_WORKERS": str(processes)}
        made.append(Server(environment | own | variables, api_key, free_port(), log=folder / "log"))
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.stop()
            copies.drop(server.environment["DATABASE_URL"])


@pytest.fixture
def make_server(database, environment, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    with servers(database, environment, tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="module")
def make_module_server(database, environment, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    with servers(database, environment, tmp_path_factory) as make:
        yield make


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server().start()
