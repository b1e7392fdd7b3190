"""Code on documentation pages that begin with `<!-- snippets: tested -->` works against a real server."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import images
from tests.system.conftest import Server

# A server process for the module, as in tests/system.
from tests.system.conftest import database as database
from tests.system.conftest import environment as environment
from tests.system.conftest import make_module_server as make_module_server

pytestmark = pytest.mark.any_database

MARKER = "<!-- snippets: tested -->"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = ("sh", "js", "php", "go", "python")
CLIENTS = ROOT / "tests" / "clients"
TIMEOUT = 120  # seconds


@dataclass(frozen=True, slots=True)
class Snippet:
    page: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}:{self.language}"


def marked_pages() -> list[Path]:
    return [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.read_text().startswith(MARKER)]


def snippets_of(page: Path) -> list[Snippet]:
    text = page.read_text()
    return [
        Snippet(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in FENCE.finditer(text)
        if match[1] in LANGUAGES
    ]


SNIPPETS = [snippet for page in marked_pages() for snippet in snippets_of(page)]


@pytest.fixture(scope="module")
def running_server(make_module_server) -> Server:
    return make_module_server().start()


def command(language: str, folder: Path) -> list[str]:
    """The command that runs a snippet of this language in the folder, where its client is made available.

    Skips the test if the language or its client isn't installed.
    """
    match language:
        case "sh":
            return ["sh", "-eu", "snippet.sh"]
        case "python":
            return [sys.executable, "snippet.python"]
        case "js":
            _require("node", "node is not installed: its snippets were left out")
            _link(CLIENTS / "node_modules", folder, "rokka", "the JavaScript client is not installed: npm ci")
            return ["node", "snippet.js"]
        case "php":
            _require("php", "PHP is not installed: its snippets were left out")
            _link(CLIENTS / "vendor", folder, "rokka/client", "the PHP client is not installed: composer require")
            return ["php", "snippet.php"]
        case _:
            _require("go", "Go is not installed: its snippets were left out")
            _link(CLIENTS / "go.mod", folder, "", "the Go client is not installed: go get")
            _link(CLIENTS / "go.sum", folder, "", "the Go client is not installed: go get")
            return ["go", "run", "snippet.go"]


def _require(program: str, reason: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(reason)


def _link(source: Path, folder: Path, package: str, reason: str) -> None:
    if not (source / package).exists():
        pytest.skip(f"{reason} in tests/clients")
    (folder / source.name).symlink_to(source)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_the_snippet_works(snippet, running_server, tmp_path):
    photo = images.jpeg(64 + SNIPPETS.index(snippet), 48)  # each snippet has content of its own
    (tmp_path / "photo.jpg").write_bytes(photo)
    (tmp_path / f"snippet.{snippet.language}").write_text(snippet.code)
    variables = {"ROKKA_HOST": running_server.url, "ROKKA_KEY": running_server.api_key, "ROKKA_ORG": "acme"}
    run = subprocess.run(
        command(snippet.language, tmp_path),
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert run.returncode == 0, run.stdout + run.stderr

    if "options/locked" in snippet.code or "setLocked" in snippet.code:
        newest = running_server.session().get(f"{running_server.url}/sourceimages/acme?limit=1").json()["items"][0]
        assert (newest["name"], newest["size"], newest["locked"]) == ("photo.jpg", len(photo), True)


def test_the_page_on_migration_shows_every_client():
    page = ROOT / "docs" / "how-to" / "migrate-from-rokka-io.md"
    assert {snippet.language for snippet in snippets_of(page)} == set(LANGUAGES)
