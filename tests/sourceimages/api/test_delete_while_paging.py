"""Deleting everything page by page, as the command line clients of rokka.io do it."""

import pytest

from organizations.audit import COMMAND
from sourceimages.operations.update import derive
from tests.conftest import consistency_errors
from tests.support import images


@pytest.fixture
def hashes(acme, alice) -> set[str]:
    """150 images, ten of each file and with the same time."""
    for start in range(0, 15, 5):
        alice.upload(acme, *(images.png(seed=seed) for seed in range(start, start + 5)))
    for image in acme.images.select_related("organization", "file"):
        for number in range(9):
            text = {"version": {"text": str(number)}}
            derive(image, text, protected=False, delete_previous=False, actor=COMMAND)
    return set(acme.images.values_list("hash", flat=True))


@pytest.mark.parametrize("limit", [20, 100])
def test_who_deletes_page_by_page_misses_none(acme, alice, hashes, limit):
    deleted, cursor, pages = [], "", 0
    while items := (page := alice.api.get(f"/sourceimages/acme?limit={limit}&offset={cursor}").json())["items"]:
        deleted += [(item["hash"], alice.api.delete(item["link"]).status_code) for item in items]
        cursor, pages = page["cursor"], pages + 1

    assert sorted(deleted) == sorted((hash, 204) for hash in hashes)
    assert len(hashes) == 150
    assert pages == -(-150 // limit)
    assert page["total"] == 0
    assert acme.images.in_trash().count() == 150
    assert consistency_errors() == []
