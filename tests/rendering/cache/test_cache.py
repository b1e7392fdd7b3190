"""The render cache in a local folder and in S3: the same tests for both."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import time_machine

from rendering.cache import RenderCache, RenderName
from rendering.cache.local import MAX_DRAFT_AGE, LocalRenderCache
from rendering.cache.s3 import S3RenderCache
from rokka.core import env

ACME, OTHER = uuid4(), uuid4()
RED, BLUE = "a" * 40, "b" * 40


@pytest.fixture(params=["local", "s3"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RenderCache]:
    if request.param == "local":
        yield LocalRenderCache(location=str(tmp_path / "renders"))
        return
    url = request.getfixturevalue("empty_bucket")
    yield S3RenderCache(**env.render_cache_config(url, temp_dir=tmp_path)["OPTIONS"])


def name(key: str = "1", image: str = RED, organization=ACME) -> RenderName:
    return RenderName(organization, image, key * 64)


def put(cache: RenderCache, where: RenderName, content: bytes = b"result", format: str = "jpg") -> None:
    with cache.draft() as draft:
        draft.write(content)
        cache.put(where, format, draft).file.close()


def content(cache: RenderCache, where: RenderName, *formats: str) -> bytes | None:
    found = cache.find(where, formats or ("jpg",))
    if found is None:
        return None
    with found.file:
        data = found.file.read()
    assert found.size == len(data)
    return data


def test_what_was_put_is_found_again(cache):
    put(cache, name())
    assert content(cache, name()) == b"result"


def test_what_was_put_can_be_read_at_once(cache):
    with cache.draft() as draft:
        draft.write(b"result")
        stored = cache.put(name(), "jpg", draft)
    with stored.file:
        assert stored.file.read() == b"result"


def test_another_key_is_not_found(cache):
    put(cache, name("1"))
    assert content(cache, name("2")) is None


def test_the_format_of_a_render_is_one_of_those_expected(cache):
    put(cache, name(), format="png")
    found = cache.find(name(), ("jpg", "png"))
    assert found is not None
    assert found.format == "png"
    found.file.close()


def test_a_draft_that_is_not_put_leaves_nothing(cache, tmp_path):
    with cache.draft() as draft:
        draft.write(b"half")
    assert content(cache, name()) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_purging_an_image_leaves_other_images(cache):
    put(cache, name("1"))
    put(cache, name("2"))
    put(cache, name("1", image=BLUE))
    assert cache.purge(ACME, RED) == 2
    assert content(cache, name("1")) is None
    assert content(cache, name("1", image=BLUE)) == b"result"


def test_purging_an_organization_leaves_other_organizations(cache):
    put(cache, name())
    put(cache, name(organization=OTHER))
    assert cache.purge(ACME) == 1
    assert content(cache, name()) is None
    assert content(cache, name(organization=OTHER)) == b"result"


def test_purging_what_is_not_cached_does_nothing(cache):
    assert cache.purge(ACME, RED) == 0
    assert cache.purge(ACME) == 0


def test_an_open_render_can_be_read_to_its_end_after_a_purge(cache):
    put(cache, name())
    found = cache.find(name(), ("jpg",))
    cache.purge(ACME)
    assert found is not None
    with found.file:
        assert found.file.read() == b"result"


def test_the_images_with_renders_are_listed_once(cache):
    put(cache, name("1"))
    put(cache, name("2"))
    put(cache, name("1", image=BLUE, organization=OTHER))
    assert sorted(cache.images()) == sorted([(ACME, RED), (OTHER, BLUE)])


def test_nothing_is_evicted_within_the_budget(cache):
    put(cache, name())
    usage = cache.evict(1000)
    assert (usage.size, usage.files, usage.removed_files) == (6, 1, 0)
    assert content(cache, name()) == b"result"


# --- Local files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> LocalRenderCache:
    return LocalRenderCache(location=str(tmp_path))


def unused_for(cache: LocalRenderCache, where: RenderName, days: float) -> None:
    path = Path(cache.location, where.folder, f"{where.key}.jpg")
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


@pytest.mark.any_database
def test_the_renders_that_were_not_used_for_longest_are_evicted_first(local):
    for days, key in enumerate("123456789a"):
        put(local, name(key), b"x" * 100)
        unused_for(local, name(key), days)
    usage = local.evict(500)  # then 450 bytes remain at most
    assert (usage.size, usage.removed_size) == (1000, 600)
    assert [key for key in "123456789a" if content(local, name(key))] == list("1234")


@pytest.mark.any_database
def test_a_hit_counts_as_use_on_file_systems_without_access_times(local):
    put(local, name("1"), b"x" * 100)
    put(local, name("2"), b"x" * 100)
    unused_for(local, name("1"), 3)
    unused_for(local, name("2"), 2)
    assert content(local, name("1"))
    local.evict(150)
    assert content(local, name("1"))
    assert content(local, name("2")) is None


@pytest.mark.any_database
def test_an_eviction_removes_the_drafts_of_killed_processes(local):
    folder = Path(local.location, ".drafts")
    folder.mkdir(parents=True)
    old, new = folder / "old", folder / "new"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - MAX_DRAFT_AGE - 60,) * 2)
    local.evict(1000)
    assert not old.exists()
    assert new.exists()


@pytest.mark.any_database
def test_a_render_that_cannot_be_stored_is_answered_nevertheless(local):
    with local.draft() as draft:
        draft.write(b"result")
        Path(local.location, ACME.hex).write_text("a file in place of the folder")
        stored = local.put(name(), "jpg", draft)
    with stored.file:
        assert stored.file.read() == b"result"


# --- Generations in S3 ------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(empty_bucket: str, tmp_path: Path) -> S3RenderCache:
    return S3RenderCache(**env.render_cache_config(empty_bucket, temp_dir=tmp_path)["OPTIONS"])


def weeks_ago(monkeypatch: pytest.MonkeyPatch, weeks: int) -> None:
    """Let the cache believe that it is `weeks` ago; requests to S3 need the real time."""
    names = [f"2026-W{30 - weeks - back}" for back in (0, 1)]
    monkeypatch.setattr("rendering.cache.s3.generations", lambda: tuple(names))


def test_a_hit_in_the_previous_week_survives_the_next_eviction(bucket, monkeypatch):
    weeks_ago(monkeypatch, 2)
    put(bucket, name("1"))
    put(bucket, name("2"))
    weeks_ago(monkeypatch, 1)
    assert content(bucket, name("1")) == b"result"
    weeks_ago(monkeypatch, 0)
    bucket.evict(1000)
    assert content(bucket, name("1")) == b"result"
    assert content(bucket, name("2")) is None


def test_the_previous_week_is_evicted_above_the_budget(bucket, monkeypatch):
    weeks_ago(monkeypatch, 1)
    put(bucket, name("1"), b"x" * 100)
    weeks_ago(monkeypatch, 0)
    put(bucket, name("2"), b"x" * 100)
    usage = bucket.evict(150)
    assert (usage.removed_files, usage.removed_size) == (1, 100)
    assert content(bucket, name("1")) is None
    assert content(bucket, name("2"))


@pytest.mark.any_database
@time_machine.travel("2027-01-02 12:00:00+00:00", tick=False)
def test_generations_are_weeks_of_iso_8601():
    from rendering.cache.s3 import generations

    assert generations() == ("2026-W53", "2026-W52")
