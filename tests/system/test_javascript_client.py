"""rokka.io's own JavaScript client, with nothing changed but the host."""

import base64
import json
import subprocess
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import images
from tests.support.web_server import HERE, IMAGE, serving
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database


@pytest.fixture
def answers(make_server: Callable[..., Server], node: str, tmp_path: Path) -> dict:
    server = make_server(FETCH_ALLOWED_NETWORKS=f"{HERE}/32").start()
    picture, drawing, large = tmp_path / "picture.jpg", tmp_path / "drawing.svg", tmp_path / "large.jpg"
    picture.write_bytes(images.jpeg(300, 200))
    drawing.write_bytes(images.svg())
    with large.open("wb") as file:
        file.write(images.jpeg())
        file.truncate(150_000_001)
    with serving() as web:
        url = f"http://{HERE}:{web.server_port}/quay.png"
        run = subprocess.run(
            [node, "rokka.mjs", server.url, server.api_key, picture, drawing, large, url],
            cwd=ROOT / "tests" / "clients",
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) | {"sent": picture.read_bytes()}


def test_the_client_works_after_changing_its_host(answers):
    binary_hash = sha1(answers["sent"]).hexdigest()
    image = answers["created"]["items"][0]

    assert answers["created"]["total"] == 1
    assert image["binary_hash"] == binary_hash
    assert image["hash"] == sha1(f"{binary_hash}a:0:{{}}".encode()).hexdigest()
    assert (image["name"], image["format"], image["width"], image["height"]) == ("harbour.jpg", "jpg", 300, 200)
    assert answers["drawing"]["items"][0]["format"] == "svg"
    assert answers["got"] == answers["gotByShortHash"] == {k: v for k, v in image.items() if k != "deleted"}
    assert base64.b64decode(answers["downloaded"]) == answers["sent"]


def test_the_client_sends_metadata_and_options(answers):
    image = answers["described"]["items"][0]
    assert image["user_metadata"] == {"foo": "bar", "int:year": 2019}
    assert image["dynamic_metadata"] == {"subject_area": {"x": 10, "y": 20, "width": 1, "height": 1}}
    assert image["protected"] is True
    assert image["binary_hash"] == answers["created"]["items"][0]["binary_hash"]
    assert image["hash"] != answers["created"]["items"][0]["hash"]


def test_the_client_uploads_by_url(answers):
    (image,) = answers["byUrl"]["items"]
    assert (image["name"], image["user_metadata"]) == ("quay.png", {"from": "afar"})
    assert image["binary_hash"] == sha1(IMAGE).hexdigest()


def test_the_client_finds_pictures(answers):
    hashes = [answers[name]["items"][0]["hash"] for name in ("described", "drawing", "created")]
    assert [item["hash"] for item in answers["list"]["items"]] == hashes
    assert answers["list"]["total"] == 3
    assert [item["hash"] for item in answers["page"]["items"]] == [hashes[1]]
    assert answers["page"]["links"] == {
        "prev": {"href": "/sourceimages/acme?sort=created+desc&limit=1"},
        "next": {"href": "/sourceimages/acme?sort=created+desc&limit=1&offset=2"},
    }
    assert [item["hash"] for item in answers["next"]["items"]] == hashes[2:]
    assert {item["hash"] for item in answers["byBinaryHash"]["items"]} == {hashes[0], hashes[2]}


def test_the_client_understands_refusals(answers):
    statuses = {
        name: (answers[name]["refused"], answers[name]["status"], answers[name]["error"]["error"]["code"])
        for name in ("unknownImage", "unknownOrganization", "badKey", "badSort", "privateUrl", "tooLarge")
    }
    assert statuses == {
        "unknownImage": (True, 404, 404),
        "unknownOrganization": (True, 404, 404),
        "badKey": (True, 403, 403),
        "badSort": (True, 400, 400),
        "privateUrl": (True, 400, 400),
        "tooLarge": (True, 413, 413),
    }
    assert answers["badKey"]["error"]["invalid_authentication"] is True
    assert "150,000,000" in answers["tooLarge"]["error"]["error"]["message"]
