"""Original files of optimized ones can be restored while they are in the storage trash."""

import json
from datetime import timedelta

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from organizations.usage import counters
from rokka.core import env
from sourceimages import operations, queue
from sourceimages.maintenance import garbage_collection
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations import Undone, copy_image, set_locked, undo_optimize
from tests.support import photos, tiffs
from tests.support.storage import lose

pytestmark = pytest.mark.usefixtures("consistent")
ORIGINAL = tiffs.build(tiffs.pixels(40, 30) | tiffs.exif())


@pytest.fixture(params=["local", "s3"])
def originals(request, settings, tmp_path):
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    return storages["originals"]


@pytest.fixture
def optimized(acme, alice, monkeypatch):
    """Upload a TIFF and optimize it to PNG; return its row."""
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)

    def make(content=ORIGINAL):
        response = alice.upload(acme, content, name="scan.tif", optimize_source="true")
        assert response.status_code == 200, response.json()
        file = StoredFile.objects.latest("pk")
        assert operations.optimize(file.pk)
        file.refresh_from_db()
        assert file.format == "png"
        return file

    return make


def state():
    return (
        list(StoredFile.objects.order_by("id").values()),
        list(SourceImage.objects.order_by("id").values()),
        AuditEvent.objects.count(),
    )


def read(originals, key):
    return b"".join(originals.open(key))


def test_the_file_comes_back_as_it_was_uploaded(originals, optimized, acme, alice):
    file = optimized()
    png = read(originals, file.key)
    assert file.optimized_from["format"] == "tif"
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE

    row = StoredFile.objects.get()
    assert read(originals, row.key) == ORIGINAL
    assert (row.key, row.optimized_from, row.optimize_to) == (file.optimized_from["key"], None, "")
    assert (row.format, row.mimetype, row.size) == ("tif", "image/tiff", len(ORIGINAL))
    assert row.content_hash == row.uploaded_sha256
    assert "optimize" not in row.static_metadata
    assert row.static_metadata["exif"]["artist"] == "Kim Lee"
    image = alice.api.get(f"/sourceimages/acme/{acme.images.get().hash}").json()
    assert (image["format"], image["mimetype"], image["size"]) == ("tif", "image/tiff", len(ORIGINAL))
    assert counters.totals(acme).bytes == len(ORIGINAL)
    event = AuditEvent.objects.get(action="file.optimize_undone")
    assert (event.target, event.details["after"]) == (row.binary_hash, {"format": "tif", "size": len(ORIGINAL)})
    assert originals.recover(file.key)  # what was optimized is in the trash
    assert read(originals, file.key) == png
    originals.move_to_trash([file.key])
    assert operations.waiting_to_be_optimized() == []


def test_undoing_twice_does_nothing_the_second_time(originals, optimized):
    file = optimized()
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE
    before = state()
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.CHANGED
    assert state() == before


def test_a_locked_image_keeps_the_optimized_file(optimized, alice):
    file = optimized()
    image = set_locked(SourceImage.objects.get(), True, actor=alice.actor)
    before = state()
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.LOCKED
    assert state() == before
    set_locked(image, False, actor=alice.actor)
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE


def test_an_image_that_is_locked_on_the_way_keeps_the_optimized_file(originals, optimized, alice, monkeypatch):
    file = optimized()
    monkeypatch.setattr(
        "rokka.core.failpoints.failpoint",
        lambda name: name == "optimize.recovered" and set_locked(SourceImage.objects.get(), True, actor=alice.actor),
    )
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.LOCKED
    assert StoredFile.objects.get().key == file.key
    monkeypatch.undo()
    set_locked(SourceImage.objects.get(), False, actor=alice.actor)
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE  # from where the first attempt has left it
    assert read(originals, StoredFile.objects.get().key) == ORIGINAL


def test_what_is_no_longer_in_the_trash_is_not_asked_for_again(originals, optimized):
    file = optimized()
    assert originals.recover(file.optimized_from["key"])
    lose(file.optimized_from["key"])
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.MISSING
    row = StoredFile.objects.get()
    assert (row.key, row.format, row.optimized_from) == (file.key, "png", None)
    assert list(operations.optimized_files()) == []


def test_a_file_that_rotted_in_the_trash_does_not_come_back(originals, optimized):
    file = optimized()
    key = file.optimized_from["key"]
    originals.recover(key)
    lose(key)
    originals.temp_dir.mkdir(parents=True, exist_ok=True)
    rotten = originals.temp_dir / "rotten.part"
    rotten.write_bytes(ORIGINAL[:-1] + b"?")
    originals.put(rotten, key)
    originals.move_to_trash([key])
    before = state()
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DAMAGED
    assert state() == before


def test_a_copy_has_nothing_to_come_back(optimized, stage):
    file = optimized()
    copy_image(SourceImage.objects.select_related("organization").get(), stage, overwrite=False, actor=COMMAND)
    copy = stage.files.get()
    assert (copy.format, copy.optimized_from) == ("png", None)
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE
    assert stage.files.get().format == "png"


def test_an_image_in_the_trash_follows_too(optimized, acme, alice):
    file = optimized()
    image = acme.images.get()
    operations.delete_image(image, actor=alice.actor)
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE
    assert acme.images.get().format == "tif"


# --- The command ------------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    call_command("optimize_pending", *arguments)
    return capsys.readouterr().out.strip()


def formats():
    return list(StoredFile.objects.order_by("id").values_list("format", flat=True))


def test_the_command_brings_back_what_is_named(optimized, capsys):
    first, second = optimized(), optimized(photos.tiff(photos.noise(30, 20, 3)))
    image = SourceImage.objects.get(file=second)
    assert run(capsys, "--undo", "acme", image.short_hash, "--yes") == "1 file restored"
    assert formats() == ["png", "tif"]
    assert run(capsys, "--undo", "acme", first.binary_hash, "--yes") == "1 file restored"
    assert formats() == ["tif", "tif"]


def test_the_command_names_hashes_of_no_optimized_file(optimized, capsys):
    file = optimized()
    call_command("optimize_pending", "--undo", "acme", "f" * 40, file.binary_hash, "--yes", "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["not_found"] == ["f" * 40]
    assert f"Not found: {'f' * 40}" in printed.err
    assert formats() == ["tif"]


def test_the_command_brings_back_what_was_optimized_since(optimized, capsys):
    first, _ = optimized(), optimized(photos.tiff(photos.noise(30, 20, 3)))
    long_ago = (timezone.now() - timedelta(days=2)).isoformat(timespec="seconds")
    StoredFile.objects.filter(pk=first.pk).update(optimized_from=first.optimized_from | {"at": long_ago})
    yesterday = (timezone.now() - timedelta(days=1)).date().isoformat()
    assert run(capsys, "--undo", "--since", yesterday, "--yes") == "1 file restored"
    assert formats() == ["png", "tif"]


def test_the_command_asks_and_counts(optimized, capsys):
    optimized()
    before = state()
    assert run(capsys, "--undo", "--dry-run").startswith("[dry run] Would restore the originals of 1 optimized file")
    with pytest.raises(CommandError, match="--yes"):
        run(capsys, "--undo", "acme")
    for wrong in (["acme"], ["--since", "2026-01-01"], ["--undo", "nobody"], ["--undo", "--since", "yesterday"]):
        with pytest.raises(CommandError):
            run(capsys, *wrong)
    assert state() == before


def test_the_command_fails_where_something_could_not_come_back(optimized, alice, capsys):
    optimized()
    set_locked(SourceImage.objects.get(), True, actor=alice.actor)
    with pytest.raises(CommandError, match="1 file not restored"):
        run(capsys, "--undo", "acme", "--yes")
    assert "1 file locked" in capsys.readouterr().out


def test_garbage_collection_leaves_what_can_come_back(originals, optimized, settings):
    file = optimized()
    settings.ORPHAN_GRACE_SECONDS = 0
    garbage_collection.collect_garbage()
    assert undo_optimize(file.pk, actor=COMMAND) is Undone.DONE
    assert read(originals, StoredFile.objects.get().key) == ORIGINAL
