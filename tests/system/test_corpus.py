"""Real files of every format, uploaded to a real server: what it says of them, and the bytes that come back.

What independent tools say of them is in images.json. The rule of sizes: those of the pixels a decoder hands over. HEIC,
AVIF, JPEG XL and PDF turn and crop their pictures themselves, so that is their displayed size; all others their stored.
"""

import json
import os
from hashlib import sha1
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.any_database

FOLDER = Path(os.environ["TEST_CORPUS"]) if os.environ.get("TEST_CORPUS") else None
FILES = json.loads((FOLDER / "images" / "images.json").read_text())["files"] if FOLDER else []
TURNS_ITSELF = {"heic", "avif", "jxl", "pdf"}
IN_POINTS_OR_UNITS = {"svg", "pdf"}  # where rounding may differ by one


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server().start()


@pytest.fixture(scope="module")
def session(server):
    return server.session()


def post(server, session, path: Path) -> requests.Response:
    with path.open("rb") as file:
        files = {"filedata": (path.name, file, "application/octet-stream")}
        return session.post(f"{server.url}/sourceimages/acme", files=files, timeout=60)


def acceptable(file: dict, field: str) -> list:
    return [file["expected"][field], *file.get("also_acceptable", {}).get(field, [])]


def asserted(file: dict, field: str) -> bool:
    return file["expected"].get(field) is not None and field not in file.get("not_asserted", [])


def test_the_corpus_is_there(corpus):
    assert len(FILES) == 90


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["path"])
def test_a_real_file_is_understood_and_comes_back(server, session, file):
    path = FOLDER / "images" / file["path"]
    content = path.read_bytes()
    answer = post(server, session, path)
    if answer.status_code == 400 and "format" in file.get("not_asserted", []):
        return  # no independent tool reads it either
    assert answer.status_code == 200, answer.text
    [item] = answer.json()["items"]

    assert item["binary_hash"] == sha1(content).hexdigest() == file["sha1"]
    assert item["hash"] == sha1(f"{item['binary_hash']}a:0:{{}}".encode()).hexdigest()
    assert (item["size"], item["name"]) == (len(content), path.name)
    for field in ("format", "mimetype", "opaque", "animated"):
        if asserted(file, field):
            assert item[field] in acceptable(file, field), field
    for side in ("width", "height"):
        expected = f"display_{side}" if item["format"] in TURNS_ITSELF else side
        if asserted(file, expected):
            tolerance = 1 if item["format"] in IN_POINTS_OR_UNITS else 0
            assert abs(item[side] - file["expected"][expected]) <= tolerance, side

    downloaded = session.get(f"{server.url}{item['link']}/download")
    assert downloaded.content == content
    assert downloaded.headers["Content-Type"] == item["mimetype"]
    assert downloaded.headers["Content-Disposition"].startswith("attachment;")
    assert session.get(server.url + item["link"]).json() == {k: v for k, v in item.items() if k != "deleted"}


GOLDEN = {
    "image.png": ("9623ac25ef40ee517e82785cbbc841a2e7f8f720", "9623ac", 289, "png", 100, 100),
    "cartman.svg": ("063c3dce6a528d8944a63185bd4c7b161454ee4f", "063c3d", 1203, "svg", 104, 97),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_files_that_rokka_io_knows_have_its_hashes(corpus, server, session, name):
    [item] = post(server, session, corpus / "contract" / "golden" / name).json()["items"]
    facts = tuple(item[field] for field in ("hash", "short_hash", "size", "format", "width", "height"))
    assert facts == GOLDEN[name]
    if name == "cartman.svg":
        assert item["opaque"] is False


def test_everything_holds_at_the_end(corpus, server):
    check = server.manage("check_consistency", "--verify-checksums")
    assert check.stdout.strip() == "No problems found."
