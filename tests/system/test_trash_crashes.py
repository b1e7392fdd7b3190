"""kill -9 while files are moved to the storage's trash, or back: none is lost."""

import contextlib
import time
from collections.abc import Iterator

import pytest
import requests

from rokka.core.locks import LOCK_SECONDS
from tests.support import images
from tests.system.conftest import Server, places

EXPIRE = """
from sourceimages.models import SourceImage, Tombstone
SourceImage.objects.update(tombstone=Tombstone.objects.first())
Tombstone.objects.update(expires_at="2020-01-01T00:00Z", purge_confirmed=True)
"""
REMOVE_IMAGES = "from sourceimages.models import SourceImage; SourceImage.objects.all().delete()"
COUNT_AGAIN = """
from organizations.models import Organization
from organizations.usage import counters
from sourceimages.maintenance import consistency
for one in Organization.objects.all():
    counted, said = consistency.expected_totals(one), counters.totals(one)
    counters.add(one, images=counted.images - said.images, bytes=counted.bytes - said.bytes)
"""
MOVE = """
from sourceimages import storage
storage.originals().move_to_trash([held.key for held in storage.originals().list_objects()])
"""
WHERE = "from tests.support import storage; print(len(storage.keys()), len(storage.trashed()))"


@contextlib.contextmanager
def killed_at(server: Server, place: str) -> Iterator[None]:
    server.environment["ROKKA_FAILPOINT"] = place
    yield
    del server.environment["ROKKA_FAILPOINT"]


def run(server: Server, command: str) -> int:
    """Run the command, again as long as a killed process has its lock. Return its exit status."""
    deadline = time.monotonic() + LOCK_SECONDS + 10
    while "already running" in (done := server.manage(command)).stderr and time.monotonic() < deadline:
        time.sleep(0.5)
    return done.returncode


def shell(server: Server, command: str) -> str:
    done = server.manage("shell", "--verbosity", "0", "-c", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def uploaded(server: Server) -> str:
    """The link of the first of three images."""
    answer = server.upload(*[images.png(seed=seed) for seed in range(3)])
    return str(answer.json()["items"][0]["link"])


def nothing_contradicts(server: Server) -> bool:
    check = server.manage("check_consistency", "--verify-checksums")
    return check.returncode == 0


@pytest.fixture(params=places(["local", "s3"], ["s3"]))
def storage_url(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"STORAGE_URL": request.getfixturevalue("empty_bucket")} if request.param == "s3" else {}


PLACES = {"local": "trash.moved", "s3": "trash.copied"}


def place_of_moving(storage_url: dict[str, str]) -> str:
    return PLACES["s3" if storage_url else "local"]


def test_a_purge_that_is_killed_while_it_moves_loses_nothing(make_server, storage_url):
    server = make_server(**storage_url).start()
    uploaded(server)
    for item in server.session().get(f"{server.url}/sourceimages/acme").json()["items"]:
        assert server.session().delete(f"{server.url}{item['link']}").status_code == 204
    shell(server, EXPIRE)
    for place in ("purge.deleted", "purge.committed"):
        with killed_at(server, place):
            assert run(server, "purge_trash") == -9
        assert nothing_contradicts(server)
    with killed_at(server, place_of_moving(storage_url)):
        server.after_grace_time()
        assert run(server, "collect_garbage") == -9
    assert nothing_contradicts(server)
    assert shell(server, WHERE) in ("0 3", "3 3")  # in S3's case at both places
    assert run(server, "collect_garbage") == 0
    assert shell(server, WHERE) == "0 3"
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


@pytest.mark.parametrize("place", places(["collect.selected", "collect.rows_removed"], ["collect.rows_removed"]))
def test_a_garbage_collection_that_is_killed_is_made_up_for(make_server, place):
    server = make_server().start()
    uploaded(server)
    shell(server, REMOVE_IMAGES)
    server.after_grace_time()
    with killed_at(server, place):
        assert run(server, "collect_garbage") == -9
    assert shell(server, WHERE) == "3 0"
    assert run(server, "collect_garbage") == 0
    assert shell(server, WHERE) == "0 3"
    shell(server, COUNT_AGAIN)
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


def test_a_read_that_is_killed_while_it_recovers_loses_nothing(make_server, storage_url):
    server = make_server(ROKKA_FAILPOINT="trash.recovered", **storage_url).start()
    link = uploaded(server)
    shell(server, MOVE)
    assert shell(server, WHERE) == "0 3"
    with pytest.raises(requests.ConnectionError):
        server.session().get(f"{server.url}{link}/download")
    server.stop()
    del server.environment["ROKKA_FAILPOINT"]
    server.start()
    for _ in range(2):
        assert server.session().get(f"{server.url}{link}/download").content == images.png(seed=0)
    assert run(server, "collect_garbage") == 0
    assert nothing_contradicts(server)
    assert shell(server, WHERE).startswith("3 ")
