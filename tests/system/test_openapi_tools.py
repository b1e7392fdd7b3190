"""The OpenAPI document in the tools that people use it with."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import PYTHON, ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database

DOCUMENT = ROOT / "docs" / "openapi.yaml"
CLIENTS = ROOT / "tests" / "clients"
# Paths are rokka.io's, and no hash is one of its words; what is always refused has no answer of success.
ACCEPTED = {"no-ambiguous-paths", "operation-2xx-response"}


@pytest.fixture(scope="module")
def operation_ids() -> set[str]:
    document = yaml.safe_load(DOCUMENT.read_text())
    return {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(cwd), "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def tool(node: str, name: str) -> Path:
    """A program of node. Fails if what is in package.json was not installed."""
    program = CLIENTS / "node_modules" / ".bin" / name
    assert program.exists(), f"{name} is not installed: npm ci in tests/clients"
    return program


def test_a_linter_of_openapi_finds_no_errors(node, tmp_path):
    command = tool(node, "redocly"), "lint", DOCUMENT, "--extends=recommended", "--format=json", "--max-problems=1000"
    linted = run(*command, cwd=tmp_path)
    found = json.loads(linted.stdout)
    problems = [(one["severity"], one["ruleId"], one["message"]) for one in found["problems"]]
    assert [problem for problem in problems if problem[1] not in ACCEPTED] == []
    assert found["totals"]["errors"] == 0


def test_types_for_typescript_are_generated_of_every_operation(node, tmp_path, operation_ids):
    made = run(tool(node, "openapi-typescript"), DOCUMENT, "-o", tmp_path / "rokka.ts", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "warn" not in (made.stdout + made.stderr).lower()
    types = (tmp_path / "rokka.ts").read_text()
    assert {name for name in operation_ids if re.search(rf"^    {name}: {{$", types, re.MULTILINE)} == operation_ids


@pytest.fixture(scope="module")
def python_client(tmp_path_factory) -> Path:
    """A folder with the package `rokka_client`, which was generated without a warning."""
    folder = tmp_path_factory.mktemp("generated")
    program = Path(PYTHON).parent / "openapi-python-client"
    made = run(
        program, "generate", "--path", DOCUMENT, "--output-path", folder / "client", "--fail-on-warning", cwd=folder
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "client"


def test_a_python_client_is_generated_with_every_operation(python_client, operation_ids):
    modules = {path.stem for path in (python_client / "rokka_client" / "api").glob("*/*.py")} - {"__init__"}
    assert modules == operation_ids


def test_the_python_client_works(python_client, server: Server, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(images.png(30, 20))
    driven = run(PYTHON, CLIENTS / "generated.py", server.url, server.api_key, picture, cwd=python_client)
    assert driven.returncode == 0, driven.stderr
    got = json.loads(driven.stdout)
    (item,) = got["added"]["items"]
    assert (item["name"], item["width"], item["user_metadata"]) == ("harbour.png", 30, {"photographer": "Kim"})
    assert (got["renamed"], got["set"], got["deleted"]) == (204, 204, 204)
    for answer in ("listed", "found"):
        assert [one["name"] for one in got[answer]["items"]] == ["quay.png"]
    assert got["not found"]["total"] == 0
    assert bytes.fromhex(got["downloaded"]) == picture.read_bytes()
    assert got["missing"]["reason"] == "image_not_found"
    assert [one["hash"] for one in got["in trash"]["items"]] == [item["hash"]]
    assert got["restored"]["hash"] == got["again"]["hash"] == item["hash"]
    assert got["again"]["user_metadata"] == {"photographer": "Kim", "int:year": 2026}
