"""The life of a picture in the hands of rokka.io's own JavaScript client."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database

PICTURES = [images.png(30, 20, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def answers(make_module_server, node: str, tmp_path_factory) -> dict:
    server: Server = make_module_server().start()
    folder: Path = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(len(PICTURES))]
    for path, content in zip(paths, PICTURES, strict=True):
        path.write_bytes(content)
    run = subprocess.run(
        [node, "lifecycle.mjs", server.url, server.api_key, *paths],
        cwd=ROOT / "tests" / "clients",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_call_has_the_status_that_clients_rely_on(answers):
    statuses = {name: answer["status"] for name, answer in answers.items() if isinstance(answer, dict)}
    assert statuses == {
        "deleted": 204,
        "deletedAgain": 404,
        "gotDeleted": 404,
        "gotFromTrash": 200,
        "trash": 200,
        "restored": 200,
        "gotRestored": 200,
        "locked": 200,
        "deletedLocked": 423,
        "describedLocked": 423,
        "unlocked": 200,
        "renamed": 204,
        "replaced": 204,
        "set": 204,
        "added": 204,
        "meta": 200,
        "removed": 204,
        "gotChanged": 200,
        "copied": 201,
        "gotCopy": 200,
        "copiedAgain": 412,
        "overwritten": 204,
        "copiedAll": 200,
        "alias": 201,
        "aliasAgain": 409,
        "aliasChanged": 200,
        "aliasGot": 200,
        "aliasDeleted": 204,
        "found": 200,
        "foundNothing": 200,
        "area": 201,
        "version": 204,
        "versionDeleted": 204,
        "protected": 201,
        "gotPrevious": 404,
        "archive": 200,
        "deletedWithBinaryHash": 204,
        "left": 200,
    }


def test_what_was_deleted_is_in_the_trash_and_comes_back(answers):
    one = answers["uploaded"][0]
    assert [item["hash"] for item in answers["trash"]["body"]["items"]] == [one["hash"]]
    assert answers["gotFromTrash"]["body"]["deleted"] is True
    assert answers["gotFromTrash"]["body"]["deleted_date"]
    assert answers["restored"]["body"]["hash"] == one["hash"]
    assert answers["gotRestored"]["body"] == {name: value for name, value in one.items() if name != "deleted"}


def test_the_lock_is_in_the_picture(answers):
    assert (answers["locked"]["body"]["locked"], answers["unlocked"]["body"]["locked"]) == (True, False)
    assert answers["deletedLocked"]["body"]["error"]["reason"] == "image_locked"


def test_names_and_metadata_change(answers):
    assert answers["meta"]["body"] == {"title": "Harbour", "int:year": 2019, "array:tags": ["boat", "lake"]}
    changed = answers["gotChanged"]["body"]
    assert (changed["name"], changed["user_metadata"]) == (
        "quay.png",
        {"int:year": 2019, "array:tags": ["boat", "lake"]},
    )


def test_copies_have_everything_and_their_bytes(answers):
    changed, copy = answers["gotChanged"]["body"], answers["gotCopy"]["body"]
    own = {"organization", "link", "short_hash"}
    assert {name: copy[name] for name in copy if name not in own} == {n: changed[n] for n in changed if n not in own}
    hashes = [item["hash"] for item in answers["uploaded"]]
    assert answers["copiedAll"]["body"] == {
        "existing": hashes[:1],
        "created": hashes[1:],
        "notfound": ["0" * 40],
    }
    assert base64.b64decode(answers["copiedBytes"]) == PICTURES[1]


def test_aliases_mean_pictures(answers):
    one, two, _ = (item["hash"] for item in answers["uploaded"])
    assert [answers[name]["body"]["hash"] for name in ("alias", "aliasChanged", "aliasGot")] == [one, two, two]
    assert answers["aliasGot"]["body"]["alias"] == "logo"


def test_pictures_are_found(answers):
    (item,) = answers["found"]["body"]["items"]
    assert item["hash"] == answers["uploaded"][0]["hash"]
    assert answers["found"]["body"]["facets"] == {
        "user:array:tags": [{"value": "boat", "count": 1}, {"value": "lake", "count": 1}]
    }
    assert answers["foundNothing"]["body"]["items"] == []


def test_an_area_makes_another_picture_and_a_kept_hash_none(answers):
    one = answers["uploaded"][0]["hash"]
    area = answers["area"]
    assert area["body"]["dynamic_metadata"] == {"subject_area": {"x": 3, "y": 2, "width": 4, "height": 5}}
    assert area["location"] == f"/sourceimages/acme/{area['body']['hash']}" != f"/sourceimages/acme/{one}"
    assert answers["version"]["location"] == answers["versionDeleted"]["location"] == f"/sourceimages/acme/{one}"


def test_a_protected_picture_takes_the_place_of_the_open_one(answers):
    new = answers["protected"]["location"].rpartition("/")[2]
    assert new in {item["hash"] for item in answers["left"]["body"]["items"]}
    assert new != answers["uploaded"][1]["hash"]


def test_a_list_comes_as_a_zip(answers):
    assert answers["archive"]["type"] == "application/zip"
