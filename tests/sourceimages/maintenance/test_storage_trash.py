"""Originals are never unlinked: a file that is moved to the storage trash by mistake is recovered on first access."""

import io
import time
import zipfile
from hashlib import sha1

import pytest
from django.core.management import CommandError, call_command

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Organization
from sourceimages import jobs, operations, queue, stored_files, task_state
from sourceimages.errors import OriginalMissing
from sourceimages.maintenance import doubts, purge, storage_trash
from sourceimages.models import StoredFile, Tombstone
from sourceimages.storage import new_key, originals
from tests.conftest import consistency_errors, files_in
from tests.support import images, photos
from tests.support.storage import keys, lose, put, trashed

KEY = "0123456789abcdef0123456789abcdef/ab/abababababababababababababababababababab-0123456789abcdef"


def content(key: str) -> bytes:
    return b"".join(originals().open(key))


# --- The verbs --------------------------------------------------------------------------------------------------------


def test_a_moved_file_is_in_the_trash_and_comes_back(storage):
    put(KEY, b"content")
    assert storage.move_to_trash([KEY, KEY.replace("-0", "-1")]) == {KEY}
    assert (keys(), trashed()) == (set(), {KEY})
    with pytest.raises(OriginalMissing):
        storage.open(KEY)
    assert storage.move_to_trash([KEY]) == set()
    assert storage.recover(KEY)
    assert (content(KEY), keys(), trashed()) == (b"content", {KEY}, set())
    assert not storage.recover(KEY)
    assert storage.move_to_trash([]) == set()


def test_what_is_at_its_place_is_never_overwritten_from_the_trash(storage):
    put(KEY, b"moved")
    storage.move_to_trash([KEY])
    put(KEY, b"at its place")
    assert not storage.recover(KEY)
    assert (content(KEY), trashed()) == (b"at its place", {KEY})


@pytest.mark.parametrize(
    "key", ["secret_key", "rokka.sqlite3", "backups/monday", KEY.upper(), KEY + "x", f"trash/{KEY}", f"../{KEY}"]
)
def test_no_key_of_another_form_is_ever_moved_or_removed(storage, key):
    put(KEY, b"content")
    for verb in (lambda: storage.move_to_trash([KEY, key]), lambda: storage.empty_trash([key])):
        with pytest.raises(ValueError, match="not a key of this application"):
            verb()
    assert (keys(), trashed()) == ({KEY}, set())


def test_emptying_removes_from_the_trash_only(storage):
    put(KEY, b"moved")
    storage.move_to_trash([KEY])
    put(KEY, b"at its place")
    storage.empty_trash([KEY])
    storage.empty_trash([KEY])
    assert (content(KEY), trashed()) == (b"at its place", set())


def test_a_file_starts_to_age_again_in_the_trash_and_when_it_comes_back(storage):
    put(KEY, b"content")
    time.sleep(2.1)  # S3 counts in seconds
    storage.move_to_trash([KEY])
    assert next(storage.list_trash()).age < 2
    time.sleep(2.1)
    assert next(storage.list_trash()).age > 1
    storage.recover(KEY)
    assert next(storage.list_objects()).age < 2


def test_a_listing_starts_after_any_key_and_shows_neither_trash_nor_owner_mark(storage):
    wanted = ["a-b", "a/b", "a/c/d", "a0", "b/c", "s/t", "trashed", "zebra"]
    for key in [*wanted, "rokka-owner.json", KEY]:
        put(key, b"")
    storage.move_to_trash([KEY])
    assert [held.key for held in storage.list_objects()] == wanted
    for position, key in enumerate(wanted):
        assert [held.key for held in storage.list_objects(after=key)] == wanted[position + 1 :]
    assert [held.key for held in storage.list_trash(after=KEY)] == []
    assert [held.key for held in storage.list_trash(after=KEY[:-1])] == [KEY]


def test_stored_files_are_read_only_and_their_copies_too(acme, stage, alice, storage_dir, settings):
    alice.upload(acme, images.png())
    for links in (True, False):
        options = {"location": str(storage_dir), "links": links}
        backend = {"BACKEND": "sourceimages.storage.LocalStorage", "OPTIONS": options}
        settings.STORAGES = settings.STORAGES | {"originals": backend}
        originals().copy([(StoredFile.objects.get().key, new_key(stage.pk, "ab" * 20))])
    found = [path for path in files_in(storage_dir) if "-" in path.name]
    assert [path.stat().st_mode & 0o777 for path in found] == [0o444] * 3


# --- Healing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(storage, image):
    """An image whose file was moved by mistake."""
    storage.move_to_trash([image.file.key])
    return image


def healed(image) -> bool:
    """The file was recovered, audited and counted once."""
    events = AuditEvent.objects.filter(action="file.recovered", organization=image.organization)
    assert [event.target for event in events] == [image.binary_hash]
    assert task_state.progress_of(storage_trash.TASK)["recovered"] == 1
    return keys() >= {image.file.key} and not trashed() and consistency_errors() == []


def test_a_file_in_the_trash_comes_back_when_it_is_downloaded(moved, alice):
    for _ in range(2):
        response = alice.api.get(f"/sourceimages/acme/{moved.hash}/download")
        assert b"".join(response.streaming_content) == images.png()
    assert healed(moved)


def test_a_file_in_the_trash_comes_back_for_a_head_request(moved, alice):
    assert alice.api.head(f"/sourceimages/acme/{moved.hash}/download").status_code == 200
    assert healed(moved)


def test_a_file_in_the_trash_comes_back_for_an_archive(moved, alice):
    response = alice.api.get("/sourceimages/acme/download")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert [archive.read(name) for name in archive.namelist()] == [images.png()]
    assert healed(moved)


def test_a_file_in_the_trash_comes_back_when_its_colors_are_looked_for(moved):
    StoredFile.objects.update(colors_pending=True)
    operations.extract_colors(moved.file_id)
    assert "color" in StoredFile.objects.get().static_metadata
    assert healed(moved)


def test_a_file_in_the_trash_comes_back_when_it_is_copied(moved, stage):
    job = jobs.run(jobs.start_copy_all(moved.organization, stage, overwrite=False, actor=COMMAND).pk)
    assert (job.counts, job.failed) == ({"created": 1}, 0)
    assert healed(moved)


def test_a_file_in_the_trash_comes_back_when_it_is_optimized(storage, acme, alice, monkeypatch):
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)
    alice.upload(acme, photos.tiff(photos.noise(61, 43, 3)), optimize_source="true")
    before = StoredFile.objects.get()
    storage.move_to_trash([before.key])
    call_command("optimize_pending")
    file = StoredFile.objects.get()
    assert (file.format, keys(), trashed()) == ("png", {file.key}, {before.key})
    # A process with the old row does not recover a file that no row refers to any more.
    with pytest.raises(OriginalMissing):
        stored_files.open_file(before)
    assert (keys(), trashed(), consistency_errors()) == ({file.key}, {before.key}, [])


def test_what_is_nowhere_is_missing_as_ever(storage, image, alice):
    lose(image.file.key)
    response = alice.api.get(f"/sourceimages/acme/{image.hash}/download")
    assert (response.status_code, response.json()["error"]["reason"]) == (503, "original_missing")
    assert not AuditEvent.objects.filter(action="file.recovered").exists()


def test_the_consistency_check_says_where_a_missing_file_is(moved, capsys):
    assert consistency_errors() == [
        f"file {moved.file_id}: {moved.file.key} is missing; it is in the storage trash: run manage.py recover_files"
    ]
    with pytest.raises(CommandError, match="1 problem found"):
        call_command("check_consistency")
    assert "1 files (" in capsys.readouterr().err
    assert trashed() == {moved.file.key}  # it looks and changes nothing


def test_no_file_that_a_row_has_come_to_name_is_moved(storage, image):
    assert stored_files.move_to_trash([image.file.key]) == set()
    assert (keys(), trashed()) == ({image.file.key}, set())


# --- Emptying ---------------------------------------------------------------------------------------------------------


def purged(image, alice) -> str:
    """The key of an image that was deleted and purged."""
    key = image.file.key
    alice.api.delete(f"/sourceimages/{image.organization}/{image.hash}")
    Tombstone.objects.update(expires_at="2020-01-01T00:00Z")
    assert purge.purge_expired() == 1
    assert (keys(), trashed()) == (set(), {key})
    return str(key)


def test_the_trash_is_emptied_when_its_days_are_over_and_not_before(storage, image, alice, settings):
    purged(image, alice)
    assert storage_trash.empty_trash().removed == 0
    settings.STORAGE_TRASH_RETENTION_DAYS = -1
    assert storage_trash.empty_trash().removed == 1
    assert (keys(), trashed(), consistency_errors()) == (set(), set(), [])


def test_what_a_row_names_is_put_back_and_never_removed(storage, image, settings):
    settings.STORAGE_TRASH_RETENTION_DAYS = -1
    storage.move_to_trash([image.file.key])
    done = storage_trash.empty_trash()
    assert (done.recovered, done.removed) == (1, 0)
    assert healed(image)


def test_files_of_others_in_the_trash_are_not_removed(storage, acme, settings):
    settings.STORAGE_TRASH_RETENTION_DAYS = -1
    put(KEY, b"of an organization that is not here")
    storage.move_to_trash([KEY])
    put("trash/holiday.jpg", b"somebody else's trash")
    assert storage_trash.empty_trash().removed == 0
    assert trashed() == {KEY, "holiday.jpg"}


def test_after_a_leap_of_the_clock_the_trash_is_not_emptied_for_a_day(storage, image, alice, settings):
    purged(image, alice)
    assert storage_trash.empty_trash().held == ""
    task_state.MaintenanceTask.objects.filter(pk=storage_trash.TASK).update(last_run="2020-01-01T00:00Z")
    settings.STORAGE_TRASH_RETENTION_DAYS = -1
    for _ in range(2):
        assert "a clock jumped" in storage_trash.empty_trash().held
        assert len(trashed()) == 1
    held_for(storage_trash.TASK, doubts.HOLD_TIME)
    assert storage_trash.empty_trash().removed == 1
    assert task_state.held() == []


def held_for(task: str, time) -> None:
    row = task_state.get(task)
    task_state.MaintenanceTask.objects.filter(pk=task).update(held_since=row.held_since - time)


def test_the_scan_of_the_trash_resumes_at_its_position(storage, acme, settings, monkeypatch):
    monkeypatch.setattr(storage_trash, "KEYS_PER_STEP", 2)
    settings.STORAGE_TRASH_RETENTION_DAYS = -1
    made = sorted(new_key(acme.pk, f"{number:040x}") for number in range(5))
    for key in made:
        put(key, b"")
    storage.move_to_trash(made)
    left = []
    for _ in range(3):
        storage_trash.empty_trash()
        left.append(sorted(trashed()))
    assert left == [made[2:], made[4:], []]
    assert task_state.get(storage_trash.TASK).position == ""


# --- Recovering by command --------------------------------------------------------------------------------------------


def test_what_was_purged_by_mistake_comes_back_as_an_image(storage, image, alice, capsys):
    key = purged(image, alice)
    call_command("recover_files", "--since", "2020-01-01", "--until", "2020-01-02", "--yes")
    assert "0 files" in capsys.readouterr().out
    call_command("recover_files", "--organization", "acme", "--since", "2020-01-01", "--dry-run")
    assert (keys(), trashed()) == (set(), {key})
    call_command("recover_files", "--organization", "acme", "--since", "2020-01-01", "--yes")
    assert "1 of them belong to no image" in capsys.readouterr().out
    assert (keys(), trashed()) == ({key}, set())
    assert AuditEvent.objects.get(action="file.recovered").source == "command"

    call_command("recover_orphans", "--yes")  # it is new, like the file of an upload in progress
    assert not image.organization.images.exists()
    call_command("recover_orphans", "--recent", "--yes")
    assert "1 image recovered" in capsys.readouterr().out
    again = image.organization.images.get()
    assert (again.hash, again.name) == (image.hash, f"{image.binary_hash}.png")
    assert AuditEvent.objects.get(action="image.recovered").target == image.hash
    response = alice.api.get(f"/sourceimages/acme/{image.hash}/download")
    assert b"".join(response.streaming_content) == images.png()
    assert trashed() == {key}
    assert consistency_errors() == []


def test_a_single_file_comes_back_by_its_key(storage, acme, alice, stage, capsys):
    for seed in range(3):
        alice.upload(acme, images.png(seed=seed))
    wanted, *others = StoredFile.objects.order_by("id").values_list("key", flat=True)
    storage.move_to_trash([wanted, *others])
    call_command("recover_files", wanted, "wrong", "--yes")
    assert "Not found: wrong" in capsys.readouterr().err
    assert (keys(), trashed()) == ({wanted}, set(others))
    call_command("recover_files", "--organization", "stage", "--yes")
    assert keys() == {wanted}


def test_orphans_become_images_only_if_their_content_is_that_of_their_key(storage, acme, image, capsys):
    png = images.png(seed=7)
    good = new_key(acme.pk, sha1(png).hexdigest())
    for key, found in (
        (good, png),
        (new_key(acme.pk, "ab" * 20), b"damaged"),
        (new_key(acme.pk, image.binary_hash), images.png()),
        (KEY, b"of an organization that is not here"),
        ("notes.txt", b"not ours"),
    ):
        put(key, found)
    before = keys()
    call_command("recover_orphans", "--recent", "--protected", "--yes")
    said = capsys.readouterr().out
    for line in ("1 image recovered", "1 skipped: the organization has", "1 skipped: the content doesn't match"):
        assert line in said
    assert acme.images.exclude(pk=image.pk).get().protected
    assert keys() == before - {good} | {StoredFile.objects.exclude(pk=image.file_id).get().key}
    assert trashed() == {good}


def test_nothing_is_recovered_without_a_yes(storage, image):
    storage.move_to_trash([image.file.key])
    with pytest.raises(CommandError):
        call_command("recover_files")
    with pytest.raises(CommandError, match=r"--since='.*' is invalid"):
        call_command("recover_files", "--since", "yesterday")
    assert trashed() == {image.file.key}
    assert Organization.objects.count() == 1
