"""The same behaviour on local files and on a real S3 server."""

import os
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.operations import create_organization_with_admin
from rokka.core import env
from sourceimages import jobs, queue, tasks
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.maintenance import purge
from sourceimages.models import StoredFile, Tombstone
from sourceimages.storage import new_key
from sourceimages.storage.s3 import S3Storage
from tests.conftest import consistency_errors
from tests.support import images, photos
from tests.support.storage import collect, keys, lose, put, set_grace_time, trashed


def spooled(storage, content: bytes) -> Path:
    path = storage.temp_dir / "file.part"
    path.write_bytes(content)
    return path


def test_bytes_come_back_as_they_were_put(storage):
    content = os.urandom(700_000)
    put("acme/ab/one", content)
    assert b"".join(storage.open("acme/ab/one")) == content
    assert storage.size("acme/ab/one") == len(content)
    assert not (storage.temp_dir / "file.part").exists()


def test_content_in_memory_is_stored_like_a_file(storage):
    content = os.urandom(70_000)
    storage.put(content, "acme/ab/one")
    assert b"".join(storage.open("acme/ab/one")) == content
    assert [stored.read_only for stored in storage.list_objects()] == [True]
    assert not storage.temp_dir.exists() or list(storage.temp_dir.iterdir()) == []


def test_a_part_is_read_by_its_position(storage):
    put("acme/ab/one", b"0123456789")
    assert b"".join(storage.open("acme/ab/one", 3, 4)) == b"3456"
    assert b"".join(storage.open("acme/ab/one", 8)) == b"89"
    assert b"".join(storage.open("acme/ab/one", 0, 0)) == b""


def test_large_files_are_kept_in_parts(storage, monkeypatch):
    monkeypatch.setattr("sourceimages.storage.s3.MULTIPART_CHUNK", 5 * 1024 * 1024)
    content = os.urandom(12 * 1024 * 1024)
    put("acme/ab/large", content)
    assert b"".join(storage.open("acme/ab/large")) == content


def test_what_is_missing_says_so_at_once(storage):
    for attempt in (
        lambda: storage.open("acme/ab/none"),
        lambda: storage.size("acme/ab/none"),
    ):
        with pytest.raises(OriginalMissing):
            attempt()


def test_keys_are_listed_with_size_and_age(storage):
    put("acme/ab/one", b"content")
    put("acme/cd/two", b"")
    held = {one.key: one for one in storage.list_objects()}
    assert {key: one.size for key, one in held.items()} == {"acme/ab/one": 7, "acme/cd/two": 0}
    assert all(-2 < one.age < 60 for one in held.values())


def test_copies_have_the_same_bytes_and_outlive_what_they_were_made_of(storage):
    for name in ("one", "two"):
        put(f"acme/ab/{name}", name.encode())
    pairs = [(f"acme/ab/{name}", f"stage/cd/{name}") for name in ("one", "missing", "two")]
    assert storage.copy(pairs) == {"acme/ab/missing"}
    lose("acme/ab/one")
    assert b"".join(storage.open("stage/cd/one")) == b"one"
    assert {held.key for held in storage.list_objects()} == {"acme/ab/two", "stage/cd/one", "stage/cd/two"}


def test_the_age_of_a_copy_is_its_own(storage):
    put("acme/ab/one", b"one")
    time.sleep(2.1)  # S3 counts in seconds
    storage.copy([("acme/ab/one", "stage/cd/one")])
    assert next(held.age for held in storage.list_objects() if held.key == "stage/cd/one") < 2


def test_everything_is_copied_purged_and_collected_in_it(storage, acme, alice):
    for seed in range(5):
        alice.upload(acme, images.png(seed=seed))
    stage = create_organization_with_admin("stage", email="stage@example.org", actor=COMMAND).organization
    assert jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk).counts == {"created": 5}
    assert consistency_errors() == []
    assert jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk).counts == {"deleted": 5}
    Tombstone.objects.update(expires_at=timezone.now())
    assert purge.purge_expired() == 5
    assert len(list(storage.list_objects())) == 5
    assert consistency_errors() == []
    assert StoredFile.objects.exclude(organization=stage).count() == 0


def test_a_storage_that_works_passes_its_check(storage):
    storage.check()


def test_images_are_stored_in_it(storage, acme, alice):
    content = images.png(30, 20)
    link = alice.upload(acme, content).json()["items"][0]["link"]
    assert b"".join(alice.api.get(f"{link}/download")) == content
    partial = alice.api.get(f"{link}/download", headers={"Range": "bytes=5-9"})
    assert (partial.status_code, b"".join(partial)) == (206, content[5:10])
    assert alice.upload(acme, content).json()["items"][0]["link"] == link
    assert len(list(storage.list_objects())) == 1
    assert list(storage.temp_dir.glob("*.part")) == []
    assert consistency_errors() == []


def test_orphans_are_found_and_go_to_the_trash_when_their_time_is_over(storage, acme, alice):
    alice.upload(acme, images.png())
    stray = new_key(acme.pk, "ab" * 20)
    put(stray, b"left behind")
    spooled(storage, b"never finished")
    assert collect() == 0
    set_grace_time(-5)
    assert consistency_errors() == [f"orphaned file {stray}: no row refers to it"]
    assert collect() == 1
    assert list(storage.temp_dir.glob("*.part")) == []
    assert consistency_errors() == []
    assert (keys(), trashed()) == ({StoredFile.objects.get().key}, {stray})


def test_refused_uploads_leave_nothing_in_it(storage, acme, alice):
    response = alice.upload(acme, images.png(), b"\x89PNG\r\n\x1a\nbroken")
    assert response.status_code == 400
    assert list(storage.list_objects()) == []


def test_lost_and_changed_bytes_are_found(storage, acme, alice):
    alice.upload(acme, images.png())
    file = StoredFile.objects.get()
    lose(file.key)
    assert consistency_errors() == [f"file {file.pk}: {file.key} is missing"]
    put(file.key, b"x" * file.size)
    assert consistency_errors() == [f"file {file.pk}: {file.key} does not match its SHA-256"]
    assert consistency_errors(verify_checksums=False) == []
    put(file.key, b"short")
    assert consistency_errors(verify_checksums=False) == [
        f"file {file.pk}: {file.key} has 5 bytes, expected {file.size}"
    ]


def test_a_wrong_secret_is_refused(s3_url, tmp_path):
    config = env.storage_config(s3_url, temp_dir=tmp_path)
    wrong = S3Storage(**config["OPTIONS"] | {"secret_key": "wrong"})
    for attempt in (wrong.check, lambda: list(wrong.list_objects()), lambda: wrong.open("a")):
        with pytest.raises(StorageUnavailable):
            attempt()


def test_a_server_that_is_not_there_is_unavailable(s3_url, tmp_path, acme, alice, settings):
    config = env.storage_config("s3://key:secret@127.0.0.1:9/bucket?secure=false", temp_dir=tmp_path)
    settings.STORAGES = settings.STORAGES | {"originals": config}
    response = alice.upload(acme, images.png())
    assert response.status_code == 503
    assert response.json()["error"]["reason"] == "storage_unavailable"
    assert response.headers["Retry-After"]
    assert not StoredFile.objects.exists()


def test_bytes_are_lent_as_a_file(storage, tmp_path):
    spooled = storage.temp_dir / "a.part"
    spooled.write_bytes(b"content")
    storage.put(spooled, "a/b")
    with storage.local_path("a/b") as path:
        assert path.read_bytes() == b"content"
    assert b"".join(storage.open("a/b")) == b"content"
    with pytest.raises(OriginalMissing), storage.local_path("a/none"):
        pass
    assert list(storage.temp_dir.glob("*.part")) == []


def test_a_file_is_rewritten_and_looked_at_wherever_it_lies(storage, acme, alice, monkeypatch):
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)
    alice.upload(acme, photos.tiff(photos.noise(61, 43, 3)), optimize_source="true")
    old = StoredFile.objects.get().key
    call_command("optimize_pending")
    tasks.extract_colors()
    file = StoredFile.objects.get()
    assert file.format == "png"
    assert file.static_metadata["color"]["dominant"]
    assert b"".join(storage.open(file.key)).startswith(b"\x89PNG")
    assert [held.key for held in storage.list_objects()] == [file.key] != [old]
    assert list(storage.temp_dir.glob("*.part")) == []
    assert consistency_errors() == []


def test_a_file_without_bytes_does_not_keep_others_from_being_rewritten(storage, acme, alice, monkeypatch):
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)
    for seed in (1, 2):
        alice.upload(acme, photos.tiff(photos.noise(61, 43, 3, seed=seed)), optimize_source="true")
    first, second = StoredFile.objects.order_by("id")
    lose(first.key)
    with pytest.raises(CommandError, match="1 file failed"):
        call_command("optimize_pending")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.optimize_to, first.optimize_started_at, second.format) == ("png", None, "png")
