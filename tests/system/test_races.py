"""Many at the same moment, from many connections, against a real server."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1

import pytest

from tests.conftest import files_in
from tests.support import images
from tests.system.conftest import Server


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """With two processes, which know nothing of each other."""
    return make_server(processes=2).start()


def test_a_hundred_identical_uploads_at_once_are_one_picture(server):
    content = images.png(200, 100, seed=7)
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: server.upload(content), range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text.replace('"name":"0.png"', "") for answer in answers}) == 1
    assert server.session().get(f"{server.url}/sourceimages/acme").json()["total"] == 1
    files = [path for path in files_in(server.data_dir / "files") if "trash" not in path.parts]
    assert len(files) == 1
    assert files[0].read_bytes() == content
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


def test_many_different_uploads_at_once_are_all_kept(server):
    contents = [[images.png(20, 10, seed=n), images.png(20, 10, seed=n + 1)] for n in range(60)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda pair: server.upload(*pair), contents))
    assert {answer.status_code for answer in answers} == {200}
    assert server.session().get(f"{server.url}/sourceimages/acme").json()["total"] == 61
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


def test_metadata_of_uploads_at_once_adds_up(server):
    with ThreadPoolExecutor(16) as pool:
        fields = [{"meta_user[0]": f'{{"f{n}":"x"}}'} for n in range(40)]
        answers = list(pool.map(lambda field: server.upload(images.png(), **field), fields))
    assert {answer.status_code for answer in answers} == {200}
    [item] = server.session().get(f"{server.url}/sourceimages/acme").json()["items"]
    assert item["user_metadata"] == {f"f{n}": "x" for n in range(40)}
    assert server.manage("check_consistency").stdout.strip() == "No problems found."


def test_uploads_deletions_and_restores_of_a_file_at_once_are_no_errors_of_the_server(server):
    content, url = images.png(8, 8, seed=7), f"{server.url}/sourceimages/acme"
    binary_hash = sha1(content).hexdigest()
    hash = server.upload(content).json()["items"][0]["hash"]

    def upload() -> int:
        return server.upload(content).status_code

    def delete() -> int:
        return server.session().delete(url, params={"binaryHash": binary_hash}).status_code

    def restore() -> int:
        return server.session().post(f"{url}/{hash}/restore").status_code

    kinds = [upload] * 3 + [delete] * 2 + [restore] * 3
    with ThreadPoolExecutor(len(kinds)) as pool:
        answers = list(pool.map(lambda kind: (kind, {kind() for _ in range(12)}), kinds))
    seen = {kind: set().union(*(statuses for one, statuses in answers if one is kind)) for kind in kinds}
    assert seen[upload] <= {200, 409}
    assert seen[delete] <= {204, 404, 409}
    assert seen[restore] <= {200, 409}  # it is active or in the trash at any moment
    assert server.session().get(url, params={"hash": hash}).json()["total"] <= 1
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."
