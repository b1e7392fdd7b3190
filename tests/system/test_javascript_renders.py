"""Render URLs that rokka.io's own JavaScript client builds and signs, with nothing changed but the hosts."""

import base64
import io
import json
import subprocess
from collections.abc import Callable

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def answers(make_module_server: Callable[..., Server], node: str) -> dict:
    server = make_module_server(RATE_LIMIT_ENABLED="false").start()
    hash = server.upload(images.png(120, 60)).json()["items"][0]["hash"]
    organization = server.session().get(f"{server.url}/organizations/acme").json()
    run = subprocess.run(
        [node, "renders.mjs", server.url, server.api_key, hash, organization["signing_keys"][0]["key"]],
        cwd=ROOT / "tests" / "clients",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def opened(answer: dict) -> Image.Image:
    assert answer["status"] == 200, answer
    return Image.open(io.BytesIO(base64.b64decode(answer["body"])))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("stack", (40, 20)),
        ("dpr", (80, 40)),
        ("dynamic", (20, 20)),
        ("variables", (20, 10)),
        ("longVariable", (20, 10)),
        ("filename", (40, 20)),
        ("signed", (30, 15)),
        ("expiring", (30, 15)),
    ],
)
def test_urls_are_rendered(answers, name, size):
    assert opened(answers[name]).size == size


@pytest.mark.parametrize("name", ["unsigned", "expired"])
def test_a_protected_stack_requires_a_valid_signature(answers, name):
    assert (answers[name]["status"], answers[name]["type"]) == (403, "application/json")


def test_the_format_is_the_requested_one(answers):
    assert answers["filename"]["type"] == "image/webp"
    assert "red-barn" in answers["filename"]["url"]
