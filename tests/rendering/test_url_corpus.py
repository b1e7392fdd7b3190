"""URLs that clients built, and their meanings, from a folder outside: TEST_CORPUS holds rendering/urls.json."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rendering.grammar import locate, parse
from rokka.core.errors import InvalidInput, NotFound

pytestmark = pytest.mark.any_database

FILE = Path(os.environ["TEST_CORPUS"]) / "rendering" / "urls.json" if os.environ.get("TEST_CORPUS") else None
REFUSALS = {400: InvalidInput, 404: NotFound}


def cases():
    if FILE is None or not FILE.exists():
        reason = "TEST_CORPUS is not set to a folder with rendering/urls.json"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(FILE.read_text())["cases"]]


def described(case):
    url = urlsplit(case["sent"])
    domain = url.netloc.partition(".")[2] if case["host_form"] == "subdomain" else "render.example"
    organization, path, _ = locate(url.netloc, url.path, domain, path_prefix="")
    return parse(path, url.query, organization).describe()


@pytest.mark.parametrize("case", cases())
def test_the_url_of_a_client_has_its_meaning(case):
    if status := case["meaning"].get("status"):
        with pytest.raises(REFUSALS[status]):
            described(case)
    else:
        assert described(case) == case["meaning"]
