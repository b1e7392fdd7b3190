"""Servers of their own for tests that stop and start them: Redis and PostgreSQL, on free ports of this machine."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import redis

SECONDS = 30  # to start


class Redis:
    """A Redis that keeps its data when it is stopped."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                redis.Redis.from_url(self.url).ping()
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


class PostgreSQL:
    """A cluster with an empty database. PostgreSQL refuses to run as root, so root runs it as the user postgres."""

    def __init__(self, port: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rokka-postgresql-"))  # reachable for another user
        self.port = port
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "--no-sync", "--auth", "trust", "--username", "postgres")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "--wait", "--log", str(self.folder / "log"), "--options", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "--wait", "--mode", "fast", "stop")

    def refuse_connections(self, *, refused: bool) -> None:
        """Refuse new connections but keep the present ones."""
        with psycopg.connect(self.url.removesuffix("/postgres") + "/template1", autocommit=True) as server:
            server.execute(f"ALTER DATABASE postgres ALLOW_CONNECTIONS {not refused}")

    def close(self) -> None:
        if (self.folder / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        binary = shutil.which(program) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{program}")))
        environment = os.environ | {"PGDATA": str(self.folder)}
        subprocess.run(
            [binary, *arguments], check=True, capture_output=True, user=self.user, env=environment, cwd=self.folder
        )
