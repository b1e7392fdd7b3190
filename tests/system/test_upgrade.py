"""Upgrades without a gap: the last release on the new tables, and servers behind nginx that are restarted in turn."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import requests

from tests.conftest import ROOT
from tests.support import images, releases
from tests.support.nginx import nginx
from tests.system.conftest import Server, free_port, until
from tests.system.test_web_processes import web_processes


@pytest.fixture(scope="module")
def last_release(tmp_path_factory):
    """A folder with the code of the last release."""
    folder = tmp_path_factory.mktemp("release")
    releases.unpack(folder)
    return folder


@contextmanager
def started_from(folder: Path, server: Server, *, processes: int = 1) -> Iterator[Server]:
    """A server that runs the code in the folder as operators start it, with the database and storage of `server`."""
    other = Server(server.environment, server.api_key, free_port(), log=server.data_dir / f"log{free_port()}")
    options = {"interface": "wsgi", "port": other.port, "workers": processes, "blocking-threads": 4}
    command = [sys.executable, "-m", "granian", *(f"--{name}={value}" for name, value in options.items()), "--no-ws"]
    with other.log.open("w") as log:
        other.process = subprocess.Popen(
            [*command, "--respawn-interval=15", "rokka.wsgi:application"],
            cwd=folder,
            env=server.environment | {"PYTHONPATH": str(folder), "GRANIAN_WORKERS": str(processes)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert until(lambda: answers(other), 60), other.log.read_text()[-3000:]
        yield other
    finally:
        other.stop()


def answers(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_the_last_release_works_on_the_new_tables(make_server, last_release):
    new = make_server().start()
    with started_from(last_release, new) as old:
        acme, api = f"{old.url}/sourceimages/acme", old.session()

        def call(method: str, path: str, **options):
            answer = api.request(method, f"{acme}{path}", timeout=30, **options)
            assert answer.ok, (method, path, answer.text)
            return answer

        kept, deleted = (old.upload(images.png(seed=seed)).json()["items"][0]["hash"] for seed in (1, 2))
        of_new = new.upload(images.png(seed=3), **{"meta_user[0]": '{"title": "harbour"}'}).json()["items"][0]["hash"]
        call("PUT", f"/{kept}/meta/user", json={"title": "harbour"})
        found = call("GET", "?user:str:title=harbour").json()
        assert {item["hash"] for item in found["items"]} == {kept, of_new}
        call("DELETE", f"/{deleted}")
        call("POST", f"/{deleted}/restore")
        call("DELETE", f"/{of_new}")
        assert call("GET", f"/{kept}/download").content == images.png(seed=1)
        new_member = {"email": "new@example.org", "roles": ["read"]}
        for path, body in ("/user/apikeys", {"comment": "old"}), ("/organizations/acme/memberships", new_member):
            answer = api.post(f"{old.url}{path}", json=body, timeout=30)
            assert answer.ok, answer.text
        # Both serve at once, behind one address.
        rendered = requests.get(f"{new.url}/render/acme/dynamic/resize-width-4/{kept}.png", timeout=60)
        assert rendered.status_code == 200, rendered.text
        assert {item["hash"] for item in new.session().get(acme.replace(old.url, new.url)).json()["items"]} == {
            kept,
            deleted,
        }
    checked = new.manage("check_consistency")
    assert checked.returncode == 0, checked.stdout + checked.stderr


class Load:
    """Clients that list and upload images until they are stopped; `answers` counts their statuses."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url, self.headers = f"{url}/sourceimages/acme", {"Api-Key": api_key}
        self.answers: Counter[tuple[str, object]] = Counter()
        self._end = Event()
        self._threads = [Thread(target=self._list) for _ in range(2)]
        self._threads += [Thread(target=self._upload, args=[number]) for number in range(2)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def continues(self) -> bool:
        """Whether requests of both kinds are answered now."""
        before = self.answers.copy()
        return until(lambda: all(self.answers[key] > before[key] + 3 for key in (("GET", 200), ("POST", 200))))

    def _list(self) -> None:
        with requests.Session() as session:
            while not self._end.is_set():
                self._count(session, "GET")

    def _upload(self, number: int) -> None:
        with requests.Session() as session:
            for seed in range(1_000_000 * number, 1_000_000 * (number + 1)):
                if self._end.is_set():
                    return
                self._count(session, "POST", files={"filedata": ("a.png", images.png(seed=seed))})

    def _count(self, session: requests.Session, method: str, **options) -> None:
        try:
            answer = session.request(method, self.url, headers=self.headers, timeout=60, **options)
            result: object = answer.status_code
        except requests.RequestException as error:
            result = repr(error)
        self.answers[method, result] += 1


@pytest.fixture
def first(make_server):
    return make_server(RATE_LIMIT_ENABLED="false").start()


@pytest.mark.any_database
def test_no_request_fails_while_servers_are_restarted_in_turn(first, tmp_path):
    """SIGTERM is the signal of `docker compose stop`."""
    second = Server(first.environment, first.api_key, free_port(), log=tmp_path / "second").start()
    try:
        with (
            nginx(tmp_path, port=free_port(), servers=[first.port, second.port]) as url,
            Load(url, first.api_key) as load,
        ):
            for server in (first, second):
                assert load.continues()
                server.process.terminate()
                assert server.process.wait(60) is not None
                assert load.continues()  # on the other one
                server.start()
                assert load.continues()
    finally:
        second.stop()
    assert set(load.answers) == {("GET", 200), ("POST", 200)}, load.answers
    assert stored(first) == load.answers["POST", 200]


@pytest.mark.any_database
def test_no_request_fails_while_web_processes_are_replaced(first, tmp_path):
    """After SIGHUP, granian starts a new process for each, which reads the code again, before it ends the old one."""
    with started_from(ROOT, first, processes=2) as server:
        before = web_processes(server)
        with (
            nginx(tmp_path, port=free_port(), servers=[server.port, first.port]) as url,
            Load(url, first.api_key) as load,
        ):
            assert load.continues()
            server.process.send_signal(signal.SIGHUP)
            assert until(lambda: len(web_processes(server)) == 2 and not before & web_processes(server), 90)
            assert until(lambda: answers(server), 60)
            assert load.continues()
    assert set(load.answers) == {("GET", 200), ("POST", 200)}, load.answers
    assert stored(first) == load.answers["POST", 200]


def stored(server: Server) -> int:
    """The number of images."""
    answer = server.session().get(f"{server.url}/sourceimages/acme", params={"limit": 1}, timeout=30)
    return int(answer.json()["total"])
