"""Previews of stored pictures are drawn once, and kept for a while."""

import os

import pytest
from django.core.cache import caches

from rokka.core.errors import Unavailable
from sourceimages import probing, thumbnails
from sourceimages.errors import OriginalMissing, StorageUnavailable
from tests.conftest import files_in

pytestmark = pytest.mark.any_database

A_MONTH = 30 * 86_400


@pytest.fixture
def asked(monkeypatch):
    """What the drawing processes were asked, in order."""
    questions = []
    ask = probing._thumbnail_pool.call

    def noted(question, **options):
        questions.append((question["side"], question["upright"]))
        return ask(question, **options)

    monkeypatch.setattr(probing._thumbnail_pool, "call", noted)
    return questions


@pytest.fixture
def kept_for(monkeypatch):
    """For how many seconds things are put into the cache."""
    times = []
    cache = caches["previews"]
    put = cache.set

    def noted(key, value, timeout):
        times.append(cache.get_backend_timeout(timeout))
        put(key, value, timeout)

    monkeypatch.setattr(cache, "set", noted)
    return times


def test_it_is_drawn_once(image, asked):
    first = thumbnails.preview(image.file, "small")
    assert first[8:12] == b"WEBP"
    assert thumbnails.preview(image.file, "small") == first
    assert asked == [(320, True)]


def test_each_size_and_frame_is_another(image, asked):
    for size in thumbnails.SIZES:
        for upright in True, False:
            thumbnails.preview(image.file, size, upright=upright)
    assert sorted(asked) == [(320, False), (320, True), (1600, False), (1600, True)]


def test_other_bytes_are_another(image, asked):
    thumbnails.preview(image.file, "small")
    image.file.content_hash = "0" * 40
    thumbnails.preview(image.file, "small")
    assert len(asked) == 2


def test_what_cannot_be_drawn_is_remembered(image, monkeypatch):
    calls = []
    monkeypatch.setattr(probing, "render_thumbnail", lambda *_, **__: calls.append("once"))
    assert thumbnails.preview(image.file, "small") is None
    assert thumbnails.preview(image.file, "small") is None
    assert calls == ["once"]


def test_formats_that_nobody_draws_are_not_asked_about(image, asked):
    image.file.format = "eps"
    assert thumbnails.preview(image.file, "small") is None
    assert asked == []


def test_missing_bytes_are_not_remembered(image, storage_dir):
    [path] = files_in(storage_dir)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(OriginalMissing):
        thumbnails.preview(image.file, "small")
    path.write_bytes(content)
    assert thumbnails.preview(image.file, "small")


@pytest.mark.parametrize("error", [StorageUnavailable, Unavailable])
def test_what_passes_is_not_remembered(image, monkeypatch, error):
    def refused(*_, **__):
        raise error("Try again.")

    with monkeypatch.context() as patch:
        patch.setattr(probing, "render_thumbnail", refused)
        with pytest.raises(error):
            thumbnails.preview(image.file, "small")
    assert thumbnails.preview(image.file, "small")


def test_what_is_kept_has_to_be_bytes(image, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(probing, "render_thumbnail", lambda *_, **__: "<svg/>")
        thumbnails.preview(image.file, "small")
    assert thumbnails.preview(image.file, "small")[8:12] == b"WEBP"


def test_a_cache_that_cannot_be_written_keeps_nobody_from_seeing_it(image, asked, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(type(caches["previews"]), "set", full)
    assert thumbnails.preview(image.file, "small")
    assert thumbnails.preview(image.file, "small")
    assert len(asked) == 2


def test_the_folder_may_be_deleted_at_any_time(image, asked, tmp_path):
    first = thumbnails.preview(image.file, "small")
    [path] = (tmp_path / "previews").iterdir()  # the folder of this test
    path.unlink()
    os.rmdir(tmp_path / "previews")
    assert thumbnails.preview(image.file, "small") == first
    assert len(asked) == 2


def test_the_folder_does_not_grow_for_ever(settings, tmp_path, monkeypatch):
    options = settings.CACHES["previews"] | {"OPTIONS": {"MAX_ENTRIES": 10}}
    settings.CACHES = settings.CACHES | {"previews": options}
    monkeypatch.setattr("rokka.core.caches.random.random", lambda: 0.0)
    for number in range(50):
        caches["previews"].set(str(number), b"")
    assert 0 < len(list((tmp_path / "previews").iterdir())) <= 10


def test_previews_stay_for_a_month_and_failures_for_a_day(image, monkeypatch, kept_for):
    thumbnails.preview(image.file, "small")
    monkeypatch.setattr(probing, "render_thumbnail", lambda *_, **__: None)
    thumbnails.preview(image.file, "large")
    month, day = kept_for
    assert month - day == pytest.approx(A_MONTH - 86_400, abs=60)
