"""Real files of many programs, and hostile ones, from a folder outside: TEST_CORPUS holds images/ and hostile/."""

import json
import os
import time
from pathlib import Path

import pytest

from rokka.core.errors import DomainError
from sourceimages.probing import probe

pytestmark = pytest.mark.any_database

CORPUS = Path(os.environ["TEST_CORPUS"]) if "TEST_CORPUS" in os.environ else None
AS_DISPLAYED = {"heic", "avif", "jxl", "pdf"}  # whose turning and cropping belongs to the format
VECTORS = {"svg", "pdf"}  # where rounding is a matter of taste


def manifest(name, key, wanted=lambda item: True):
    if CORPUS is None:
        reason = "TEST_CORPUS is not set: a folder with images/images.json and hostile/hostile.json"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    items = json.loads((CORPUS / name).read_text())[key]
    return [pytest.param(item, id=item.get("id") or item["path"]) for item in items if wanted(item)]


def expectations(item):
    """What the manifest asserts, as field → everything that is right."""
    expected, acceptable = item["expected"], item.get("also_acceptable") or {}
    prefix = "display_" if expected["format"] in AS_DISPLAYED else ""
    fields = {name: name for name in ("format", "mimetype", "opaque", "animated")}
    fields |= {"width": f"{prefix}width", "height": f"{prefix}height"}
    for field, name in fields.items():
        if expected.get(name) is not None and name not in (item.get("not_asserted") or []):
            right = [expected[name], *acceptable.get(field, [])]
            if field in ("width", "height") and expected["format"] in VECTORS:
                right = range(right[0] - 1, right[0] + 2)
            yield field, right


@pytest.mark.parametrize("item", manifest("images/images.json", "files"))
def test_real_files(item):
    told = probe(CORPUS / "images" / item["path"])
    assert {
        field: getattr(told, field) for field, right in expectations(item) if getattr(told, field) not in right
    } == {}


def is_for_us(case):
    return case["file"] and case.get("kind") not in ("raw_request", "filename")


@pytest.mark.parametrize("case", manifest("hostile/hostile.json", "cases", is_for_us))
def test_hostile_files(case):
    started = time.monotonic()
    try:
        told = probe(CORPUS / "hostile" / case["file"])
    except DomainError:
        assert "reject" in case["acceptable"]
    else:
        assert {"store_inert", "store_exact"} & set(case["acceptable"])
        fields = {"format", "width", "height"} & case.keys()
        assert {field: getattr(told, field) for field in fields} == {field: case[field] for field in fields}
    assert time.monotonic() - started < 20
