"""Connections to PostgreSQL: a bounded pool per web process, PgBouncer, and a database that ends connections."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from django.db import connection

from tests.support import images
from tests.support.skips import only_postgresql
from tests.system.conftest import Server, free_port, until

pytestmark = only_postgresql  # SQLite has no pool

SIZE = 2


@pytest.fixture
def pooled(make_server):
    """A server whose 16 threads share two connections."""
    settings = {"DATABASE_POOL_SIZE": str(SIZE), "WEB_THREADS": "64", "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8"}
    return make_server(RATE_LIMIT_ENABLED="false", **settings).start()


@contextmanager
def database_of(server: Server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.environment["DATABASE_URL"], autocommit=True) as direct:
        yield direct


OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NOT NULL"


def opened(direct: psycopg.Connection) -> int:
    return direct.execute(f"SELECT count(*) {OTHERS}").fetchone()[0]


class Slow(BaseHTTPRequestHandler):
    """Sends an image when the server's event is set."""

    def do_GET(self) -> None:
        self.server.waiting.append(self.path)
        self.server.released.wait(60)
        content = images.png(seed=int(self.path.strip("/.png")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def slow_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads, server.waiting, server.released = True, [], Event()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def test_threads_that_wait_for_other_servers_hold_no_connection(pooled, slow_server):
    """Three times as many uploads by URL as there are connections wait, and others are answered meanwhile."""
    count, urls = 3 * SIZE, f"http://127.0.0.1:{slow_server.server_address[1]}"

    def upload(number: int) -> requests.Response:
        form = {"url[0]": (None, f"{urls}/{number}.png")}
        return pooled.session().post(f"{pooled.url}/sourceimages/acme", files=form, timeout=60)

    with ThreadPoolExecutor(count) as pool, database_of(pooled) as direct:
        uploads = [pool.submit(upload, number) for number in range(count)]
        assert until(lambda: len(slow_server.waiting) == count, 20), [
            one.result().text for one in uploads if one.done()
        ]
        listed = pooled.session().get(f"{pooled.url}/sourceimages/acme", timeout=30)
        assert (listed.status_code, listed.json()["total"]) == (200, 0)
        assert opened(direct) <= SIZE
        slow_server.released.set()
        assert [one.result().status_code for one in uploads] == [200] * count
        assert opened(direct) <= SIZE
    assert pooled.session().get(f"{pooled.url}/sourceimages/acme", timeout=30).json()["total"] == count


def test_threads_whose_clients_read_slowly_hold_no_connection(pooled):
    """Twice as many downloads as there are connections wait for their clients, which read nothing."""
    acme, api = f"{pooled.url}/sourceimages/acme", pooled.session()
    large = b"A line of text that is longer than the buffers of sockets, if it is repeated often enough.\n" * 400_000
    uploaded = api.post(acme, files={"filedata": ("a.txt", large)}, timeout=120)
    assert uploaded.status_code == 200, uploaded.text
    hash = uploaded.json()["items"][0]["hash"]
    with contextlib.ExitStack() as stack, database_of(pooled) as direct:
        for path in ("/download", f"/{hash}/download") * SIZE:
            answer = stack.enter_context(pooled.session().get(acme + path, stream=True, timeout=60))
            assert answer.status_code == 200
        listed = api.get(acme, timeout=30)
        assert (listed.status_code, listed.json()["total"]) == (200, 1)
        assert opened(direct) <= SIZE


def test_without_a_free_connection_a_request_gets_503(pooled):
    def get(path: str = "/sourceimages/acme") -> requests.Response:
        return pooled.session().get(pooled.url + path, timeout=60)

    assert get().status_code == 200
    with ThreadPoolExecutor(SIZE) as pool, database_of(pooled) as direct:
        with direct.transaction():
            direct.execute("LOCK TABLE organizations_organization")
            blocked = [pool.submit(get) for _ in range(SIZE)]
            waiting = f"SELECT count(*) {OTHERS} AND wait_event_type = 'Lock'"
            assert until(lambda: direct.execute(waiting).fetchone()[0] == SIZE)
            refused = get()
            rendered = get("/render/acme/dynamic/resize-width-5/abcdef.png")
        assert [one.result().status_code for one in blocked] == [200] * SIZE
    assert (refused.status_code, refused.json()["reason"]) == (503, "unavailable")
    assert "DATABASE_POOL_SIZE" in refused.json()["message"]
    assert (rendered.status_code, rendered.json()["message"]) == (503, refused.json()["message"])
    assert refused.headers["Retry-After"]
    assert rendered.headers["Retry-After"]
    assert get().status_code == 200


def test_connections_that_the_database_ended_are_replaced(pooled):
    """As after a restart of PostgreSQL."""
    assert pooled.upload(images.png()).status_code == 200
    with database_of(pooled) as direct:
        ended = direct.execute(f"SELECT count(pg_terminate_backend(pid)) {OTHERS}").fetchone()[0]
    assert ended > 0
    assert [pooled.upload(images.png(seed=seed)).status_code for seed in range(5)] == [200] * 5


def test_the_pool_is_in_the_metrics(pooled):
    text = requests.get(f"{pooled.url}/metrics", timeout=30).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["rokka_database_pool_size"]) == SIZE
    assert 1 <= float(values["rokka_database_pool_in_use"]) <= SIZE  # that of this request
    assert float(values["rokka_database_pool_waiting"]) == 0
    assert float(values['rokka_database_connections{state="active"}']) >= 1


# --- PgBouncer --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer():
    """PgBouncer in transaction mode, with fewer connections than its clients have. Its host and port."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    database, port = connection.settings_dict, free_port()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer"))
    login = f"user={database['USER']}" + (f" password={database['PASSWORD']}" if database["PASSWORD"] else "")
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={database['HOST']} port={database['PORT'] or 5432} {login}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = 3\nserver_lifetime = 5\nlogfile = {folder}/log\n"
    )
    user = "nobody" if os.getuid() == 0 else getpass.getuser()  # it refuses to run as root
    shutil.chown(folder, user)
    process = subprocess.Popen([program, "-q", str(folder / "pgbouncer.ini")], user=user)
    try:
        address = f"127.0.0.1:{port}"

        def accepts() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(f"postgres://rokka@{address}/postgres", connect_timeout=5).close()
                return True
            return False

        assert until(accepts), (folder / "log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


COMMANDS = [
    "migrate --verbosity 0",
    "snapshot_stats",
    "rebuild_index acme",
    "copy_all acme copy --yes",
    "delete_all copy --yes",
    "restore_all copy --yes",
    "collect_garbage",
    "purge_trash",
    "verify --all",
    "optimize_pending",
    "list_organizations",
    "check_consistency --verify-checksums",
]


def test_everything_runs_through_pgbouncer_in_transaction_mode(make_server, pgbouncer):
    archives = {f"MAX_ARCHIVES_PER_{share}": "6" for share in ("KEY", "ORGANIZATION", "PROCESS")}
    server = make_server(RATE_LIMIT_ENABLED="false", DATABASE_POOLER="pgbouncer", **archives)
    direct = server.environment["DATABASE_URL"]
    url = urlsplit(direct)._replace(netloc=f"rokka@{pgbouncer}").geturl()
    server.environment |= {"DATABASE_URL": url}
    try:
        server.start()
        acme = f"{server.url}/sourceimages/acme"

        def use(seed: int) -> set[int]:
            """The statuses of all kinds of requests, of one of several users at once."""
            api, content = server.session(), images.png(seed=seed)
            answers = [server.upload(content, **{"meta_user[0]": f'{{"int:year": {seed}}}'})]
            hash = answers[0].json()["items"][0]["hash"]
            answers += [
                api.get(f"{acme}?user:int:year={seed}&facets=user:int:year", timeout=60),
                api.put(f"{acme}/{hash}/meta/user", json={"title": f"harbour {seed}"}, timeout=60),
                api.get(f"{acme}?q=harbour&sort=created", timeout=60),
                api.get(f"{acme}/{hash}/history", timeout=60),
                api.get(f"{acme}/download?user:str:title=harbour {seed}", timeout=60),
                requests.get(f"{server.url}/render/acme/dynamic/resize-width-4/{hash}.png", timeout=60),
                api.delete(f"{acme}/{hash}", timeout=60),
                api.post(f"{acme}/{hash}/restore", timeout=60),
                requests.get(f"{server.url}/health/ready", timeout=60),
            ]
            return {answer.status_code // 100 for answer in answers}

        with ThreadPoolExecutor(6) as pool:
            assert set().union(*pool.map(use, range(12))) == {2}
        created = server.manage("create_organization", "copy", "--email", "copy@example.org")
        assert created.returncode == 0, created.stderr
        with ThreadPoolExecutor(2) as pool:  # requests change the connection under the commands
            end = Event()
            load = pool.submit(
                lambda: [server.session().get(acme, timeout=60).status_code for _ in iter(end.is_set, True)]
            )
            for command in COMMANDS:
                done = server.manage(*command.split())
                assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])
            end.set()
            assert set(load.result()) == {200}
    finally:
        server.stop()
        server.environment["DATABASE_URL"] = direct  # to drop it
