"""Purging cached renders through the API and a command, and the scheduled cleaning of the cache."""

import io
from pathlib import Path

import pytest
from django.core.management import call_command

from organizations.models import AuditEvent
from rendering import maintenance
from rendering.tasks import clean_render_cache
from sourceimages.operations import delete_image
from tests.support import images

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("render_cache")]


@pytest.fixture
def other(acme, alice):
    alice.upload(acme, images.png(40, 40))
    return acme.images.get(format="png")


@pytest.fixture
def cached(get, render_cache):
    """Renders the images and returns how many renders are in the cache."""

    def cached(*rendered) -> int:
        for image in rendered:
            for path in ("/dynamic/resize-width-20", "/dynamic/grayscale"):
                assert get(f"{path}/{image.hash}.png").status_code == 200
        return count(render_cache)

    return cached


def count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*.png") if ".drafts" not in path.parts)


def test_an_image_is_purged(alice, photo, other, cached, render_cache):
    assert cached(photo, other) == 4
    response = alice.api.delete(f"/sourceimages/acme/{photo.short_hash}/cache")
    assert (response.status_code, response.json()["status"]) == (200, "ok")
    assert response.json()["items"][0] == f"/*/{photo.hash}*"
    assert count(render_cache) == 2
    event = AuditEvent.objects.get(action="renders.purged")
    assert (event.target, event.count) == (photo.hash, 2)


def test_an_image_is_purged_by_an_alias(alice, photo, cached, render_cache):
    cached(photo)
    assert alice.api.delete("/sourceimages/acme/alias/cover/cache").status_code == 404
    alice.api.put("/sourceimages/acme/alias/cover", {"hash": photo.hash}, format="json")
    assert alice.api.delete("/sourceimages/acme/alias/cover/cache").status_code == 200
    assert count(render_cache) == 0


def test_an_unknown_image_is_not_purged(alice, photo, cached, render_cache):
    cached(photo)
    response = alice.api.delete("/sourceimages/acme/ffffffff/cache")
    assert (response.status_code, response.json()["reason"]) == (404, "image_not_found")
    assert count(render_cache) == 2


def test_strangers_cannot_purge(charlie, photo, cached, render_cache):
    cached(photo)
    assert charlie.api.delete(f"/sourceimages/acme/{photo.hash}/cache").status_code == 403
    assert charlie.api.delete("/stacks/acme/*/cache").status_code == 403
    assert count(render_cache) == 2


def test_purges_of_images_are_limited_per_hour(alice, photo):
    statuses = [alice.api.delete(f"/sourceimages/acme/{photo.hash}/cache").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_all_renders_of_an_organization_are_purged(alice, photo, other, cached, render_cache):
    cached(photo, other)
    assert alice.api.delete("/stacks/acme/*/cache").status_code == 200
    assert count(render_cache) == 0


def test_a_purged_stack_is_rendered_again(alice, photo, get, make_stack, render_cache):
    make_stack("thumb", [{"name": "grayscale"}])
    first = get(f"/thumb/{photo.hash}.png")
    alice.api.delete("/stacks/acme/thumb/cache")
    second = get(f"/thumb/{photo.hash}.png")
    assert first["ETag"] != second["ETag"]
    assert first.getvalue() == second.getvalue()
    assert count(render_cache) == 2


def test_the_command_purges(photo, other, cached, make_stack, render_cache):
    make_stack("thumb", [])
    cached(photo, other)
    for arguments, remaining in ((["--stack", "thumb"], 4), (["--image", photo.hash], 2), ([], 0)):
        call_command("purge_renders", "acme", *arguments, stdout=io.StringIO())
        assert count(render_cache) == remaining


def test_renders_of_deleted_images_are_removed_by_schedule(alice, photo, other, cached, render_cache):
    cached(photo, other)
    delete_image(photo, actor=alice.actor)
    clean_render_cache()
    assert count(render_cache) == 2
    assert cached(other) == 2


def test_the_cache_is_cut_to_its_budget_by_schedule(photo, cached, render_cache, settings):
    cached(photo)
    settings.RENDER_CACHE_SIZE = 10
    clean_render_cache()
    assert count(render_cache) == 0


def test_images_are_looked_up_in_batches(photo, other, cached, monkeypatch, django_assert_num_queries):
    cached(photo, other)
    monkeypatch.setattr(maintenance, "BATCH", 1)
    with django_assert_num_queries(2):
        assert maintenance.remove_unreferenced() == 0
