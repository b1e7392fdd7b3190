"""The OpenAPI document: valid, up to date, and kept by the server for whatever fits it."""

import subprocess
from pathlib import Path

import pytest
import yaml
from openapi_spec_validator import validate

from tests import images
from tests.conftest import PYTHON, ROOT


def test_the_document_is_valid_and_describes_every_route():
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
    validate(document)
    assert set(document["paths"]) == {
        "/",
        "/sourceimages/{organization}",
        "/sourceimages/{organization}/binaryhash/{binary_hash}",
        "/sourceimages/{organization}/{hash}",
        "/sourceimages/{organization}/{hash}/download",
    }
    assert document["components"]["securitySchemes"]["ApiKey"] == {"type": "apiKey", "in": "header", "name": "Api-Key"}


CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


@pytest.mark.parametrize("known", [True, False], ids=["what is there", "anything"])
def test_every_answer_fits_the_document(server, tmp_path, known):
    items = [server.upload(images.png(seed=n)).json()["items"][0] for n in range(3)]
    config = tmp_path / "schemathesis.toml"
    if known:
        config.write_text(
            "[parameters]\n"
            '"path.organization" = "acme"\n'
            f'"path.hash" = "{items[0]["hash"]}"\n'
            f'"path.binary_hash" = "{items[1]["binary_hash"]}"\n'
        )
    else:
        config.write_text("")
    command = [Path(PYTHON).parent / "schemathesis", "--config-file", config, "run", f"{server.url}/doc/openapi.json"]
    command += ["--header", f"Api-Key: {server.api_key}", "--checks", ",".join(CHECKS), "--max-examples", "60"]
    command += ["--phases", "coverage,fuzzing", "--seed", "1", "--no-color"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert "No test cases" not in run.stdout
    assert server.manage("check_consistency", "--read-bytes").stdout.strip() == "everything holds"
