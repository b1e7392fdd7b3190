"""Files whose probe worker was killed are read again later."""

from datetime import timedelta

import pytest
from django.utils import timezone

from sourceimages import operations, probing, storage, tasks
from sourceimages.models import StoredFile
from sourceimages.probing.pool import WorkerKilledError
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")


@pytest.fixture
def killed(monkeypatch):
    """Readers that are asked this are killed, the second time too, until the test ends it."""
    patch = pytest.MonkeyPatch()

    def readers(*questions):
        for name in ("call", "call_fresh_worker"):
            ask = getattr(probing._pool, name)

            def refused(question, *, seconds, ask=ask):
                if question["ask"] in questions:
                    raise WorkerKilledError("the reader died (Killed)")
                return ask(question, seconds=seconds)

            patch.setattr(probing._pool, name, refused)
        in_parts = probing._pool.call_in_parts

        def refused_in_parts(question, *, seconds):
            for part, answer in in_parts(question, seconds=seconds):
                if part in questions:
                    raise WorkerKilledError("the reader died (Killed)")
                yield part, answer

        patch.setattr(probing._pool, "call_in_parts", refused_in_parts)
        return patch

    yield readers
    patch.undo()


def due():
    StoredFile.objects.exclude(read_again_at=None).update(read_again_at=timezone.now())


def test_an_upload_whose_readers_are_killed_may_be_tried_again(acme, alice, killed):
    patch = killed("header")
    answer = alice.upload(acme, images.png())
    assert (answer.status_code, answer.json()["reason"]) == (503, "reading_interrupted")
    assert int(answer.headers["Retry-After"]) > 0
    assert (acme.images.count(), acme.files.count()) == (0, 0)
    patch.undo()
    assert alice.upload(acme, images.png()).status_code == 200


def test_what_could_not_be_found_out_is_found_out_later(acme, alice, killed):
    content = images.png(mode="RGB")
    patch = killed("opaque", "describe")
    item = alice.upload(acme, content).json()["items"][0]
    file = StoredFile.objects.get()
    assert timezone.now() < file.read_again_at < timezone.now() + timedelta(hours=1)
    assert operations.to_read_again() == []
    due()
    assert operations.to_read_again() == [file.pk]
    tasks.read_again()
    file.refresh_from_db()
    assert file.read_again_at > timezone.now() + timedelta(hours=20)  # killed again: tomorrow
    patch.undo()
    due()
    tasks.read_again()
    file.refresh_from_db()
    with storage.originals().local_path(file.key) as path:
        expected = probing.probe(path)
    assert (file.read_again_at, file.opaque) == (None, expected.opaque)
    assert expected.static_metadata.items() <= file.static_metadata.items()
    assert alice.api.get(item["link"]).json()["opaque"] is expected.opaque


def test_what_is_found_out_later_is_searched_for(acme, alice, killed):
    patch = killed("describe")
    alice.upload(acme, images.encoded(images.image(), "JPEG", exif=_artist()))
    patch.undo()
    search = "/sourceimages/acme?static:str:exif:artist=Ada"
    assert alice.api.get(search).json()["total"] == 0
    due()
    tasks.read_again()
    assert alice.api.get(search).json()["total"] == 1


def _artist():
    from PIL import Image

    exif = Image.Exif()
    exif[315] = "Ada"
    return exif


def test_colors_are_extracted_again_when_their_reader_was_killed(acme, alice, killed):
    alice.upload(acme, images.jpeg(64, 64))
    file = StoredFile.objects.get()
    assert file.colors_pending
    patch = killed("colors")
    assert operations.extract_colors(file.pk)
    file.refresh_from_db()
    assert (file.colors_pending, "color" in file.static_metadata) == (False, False)
    assert file.read_again_at is not None
    patch.undo()
    due()
    tasks.read_again()
    for file_id in operations.files_without_colors():
        operations.extract_colors(file_id)
    file.refresh_from_db()
    assert (file.colors_pending, file.read_again_at) == (False, None)
    assert file.static_metadata["color"]["dominant"]


def test_a_file_that_was_lost_meanwhile_waits(acme, alice, storage_dir):
    alice.upload(acme, images.png(seed=3))
    file = StoredFile.objects.get()
    due_at = timezone.now() - timedelta(minutes=1)
    StoredFile.objects.update(read_again_at=due_at)
    path = storage_dir / file.key
    path.rename(storage_dir / "elsewhere")
    tasks.read_again()
    assert StoredFile.objects.get().read_again_at > timezone.now()
    (storage_dir / "elsewhere").rename(path)


def test_an_image_that_could_not_be_read_in_time_is_found_damaged_later(acme, alice, killed):
    content = images.jpeg(160, 120)
    patch = killed("damage")
    item = alice.upload(acme, content[: content.index(b"\xff\xda") + 14]).json()["items"][0]
    assert "damaged" not in item["static_metadata"]
    patch.undo()
    due()
    tasks.read_again()
    assert alice.api.get(item["link"]).json()["static_metadata"]["damaged"] == {"missing": "image"}
    assert StoredFile.objects.get().read_again_at is None
