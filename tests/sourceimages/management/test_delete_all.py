"""The commands delete_all, restore_all and purge_trash."""

import pytest
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.usage import counters
from sourceimages import jobs
from sourceimages.errors import StorageUnavailable
from sourceimages.models import StoredFile, Tombstone
from sourceimages.operations import change_user_metadata, delete_image, restore_image, set_locked, set_protected
from sourceimages.storage import LocalStorage
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import active_hashes, committing, ctrl_c, facts, raising, state
from tests.support import images

NOTHING_LEFT = dict.fromkeys(("restored", "merged", "skipped_existing", "conflicting", "locked", "failed"), 0)

# --- delete_all and restore_all ---------------------------------------------------------------------------------------


@committing
def test_everything_goes_to_the_trash_at_once_and_comes_back(acme, other, six, run):
    run("copy_all", "acme", "other", "--yes")
    before = state(acme)
    printed = run("delete_all", "acme", "--yes")
    assert facts(printed) == {"deleted": 6, "locked": 0, "failed": 0}
    tombstone = acme.tombstones.get()
    assert tombstone.reason == "delete_all"
    assert set(acme.images.values_list("tombstone", flat=True)) == {tombstone.pk}
    assert f"restore_all acme --deletion {tombstone.pk}" in printed
    assert active_hashes(acme) == set()
    assert len(active_hashes(other)) == 6
    assert facts(run("restore_all", "acme", "--yes")) == NOTHING_LEFT | {"restored": 6}
    assert state(acme) == before
    assert consistency_errors() == []


def test_locked_images_are_skipped_and_listed(acme, six, run, refused):
    set_locked(six[2], True, actor=COMMAND)
    assert "skip 1 locked image." in run("delete_all", "acme", "--dry-run")
    printed = refused("delete_all", "acme", "--yes", status=3)
    assert facts(printed) == {"deleted": 5, "locked": 1, "failed": 0}
    assert f"Skipped or failed:\n  {six[2].hash} 2.png: Image is locked.\n" in printed
    assert active_hashes(acme) == {six[2].hash}
    assert consistency_errors() == []


def test_nothing_to_delete_leaves_no_tombstone(acme, six, run):
    run("delete_all", "acme", "--yes")
    assert "Nothing to do" in run("delete_all", "acme", "--yes")
    assert "Nothing to do" in run("delete_all", "acme", "--yes", "--format", "jpg")
    assert acme.tombstones.count() == 1


def test_the_latest_deletion_is_restored(acme, six, run):
    earlier = delete_image(six[0], actor=COMMAND)
    run("delete_all", "acme", "--yes", "--name", "1")
    run("delete_all", "acme", "--yes", "--name", "2")
    run("restore_all", "acme", "--yes")
    assert active_hashes(acme) == {image.hash for image in six[2:]}
    assert "Nothing to do" in run("restore_all", "acme", "--yes")  # the latest is undone, and it stays the latest
    run("restore_all", "acme", "--yes", "--deletion", str(earlier.pk))
    assert active_hashes(acme) == {image.hash for image in six} - {six[1].hash}
    assert consistency_errors() == []


def test_images_that_were_uploaded_again_stay_in_the_trash(acme, alice, six, run):
    change_user_metadata(six[3], {"title": "Harbour"}, actor=COMMAND)
    run("delete_all", "acme", "--yes")
    alice.upload(acme, images.png(seed=2), name="2.png")
    again = alice.upload(acme, images.png(seed=3), name="3.png").json()["items"][0]["hash"]
    printed = run("restore_all", "acme", "--yes")
    assert facts(printed) == NOTHING_LEFT | {"restored": 4, "skipped_existing": 1, "merged": 1}
    assert "stay in the trash" in printed
    assert acme.images.active().get(hash=again).user_metadata == {"title": "Harbour"}
    assert active_hashes(acme) == {image.hash for image in six}
    assert consistency_errors() == []


def test_images_that_a_restore_skipped_fail_the_command_and_are_shown_before_they_are_purged(
    acme, alice, six, run, refused
):
    run("delete_all", "acme", "--yes")
    again = alice.upload(acme, images.png(seed=3), name="again.png").json()["items"][0]["hash"]
    printed = refused("restore_all", "acme", "--yes", status=3)
    assert facts(printed) == NOTHING_LEFT | {"restored": 5, "conflicting": 1}
    assert f"Skipped or failed:\n  {again} 3.png: An active image with this hash exists" in printed
    assert "(restore_conflict)" in printed
    assert acme.images.active().get(hash=again).name == "again.png"
    delete_image(six[0], actor=COMMAND)
    Tombstone.objects.update(expires_at=timezone.now())
    for options in (["--dry-run"], []):
        lines = run("purge_trash", *options).splitlines()
        assert lines[0] == "Partially restored deletions:"
        assert lines[1].endswith("delete_all: 1 image")
        assert "2 images" in lines[2]
    assert active_hashes(acme) == {image.hash for image in six[1:]}
    assert consistency_errors() == []


def test_what_was_replaced_is_not_the_latest_deletion(acme, six, run):
    delete_image(six[0], actor=COMMAND)
    set_protected(six[1], True, delete_previous=True, actor=COMMAND)
    assert "(api, " in run("restore_all", "acme", "--dry-run")
    run("restore_all", "acme", "--yes")
    assert acme.images.active().filter(pk=six[0].pk).exists()
    assert [image.pk for image in acme.images.in_trash()] == [six[1].pk]


def test_what_can_be_restored_is_listed(acme, six, run):
    restored = delete_image(six[0], actor=COMMAND)
    restore_image(acme, six[0].hash, actor=COMMAND)
    expired = delete_image(six[1], actor=COMMAND)
    Tombstone.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    run("delete_all", "acme", "--yes")
    lines = run("restore_all", "acme", "--list").splitlines()
    tombstone = acme.tombstones.exclude(pk__in=[restored.pk, expired.pk]).get()
    when = f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"
    assert [line.split() for line in lines[1:]] == [[str(tombstone.pk), *when.split(), "delete_all", "5", "30.0"]]
    assert Job.objects.count() == 1


def test_tombstones_that_are_not_there_are_refused(acme, other, six, refused):
    assert "Deletion not found" in refused("restore_all", "acme", "--yes")
    tombstone = delete_image(six[0], actor=COMMAND)
    assert "Deletion not found" in refused("restore_all", "other", "--yes", "--deletion", str(tombstone.pk))
    assert "--deletion='x'" in refused("restore_all", "acme", "--yes", "--deletion", "x")
    Tombstone.objects.update(expires_at=timezone.now())
    assert "Deletion not found" in refused("restore_all", "acme", "--yes")
    assert "Deletion not found" in refused("restore_all", "acme", "--yes", "--deletion", str(tombstone.pk))
    assert len(active_hashes(acme)) == 5
    assert not Job.objects.exists()


def test_deleting_everything_twice_at_once_is_refused(acme, six, refused):
    delete_image(six[0], actor=COMMAND)
    jobs.start_delete_all(acme, filters={"format": "jpg"}, actor=COMMAND)
    before = state(acme)
    assert "Another job deletes or restores images" in refused("delete_all", "acme", "--yes")
    tombstone = acme.tombstones.get(reason="api")
    assert "Another job deletes or restores images" in refused(
        "restore_all", "acme", "--yes", "--deletion", str(tombstone.pk)
    )
    assert state(acme) == before
    assert Job.objects.count() == 1
    assert acme.tombstones.count() == 2


# --- purge ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def expired(acme, six, monkeypatch) -> Tombstone:
    """Three expired images, and one that is not."""
    monkeypatch.setattr("sourceimages.maintenance.purge.BATCH", 2)
    delete_image(six[5], actor=COMMAND)
    tombstone = delete_image(six[0], actor=COMMAND)
    for image in six[1:3]:
        acme.images.filter(pk=image.pk).update(tombstone=tombstone)
    counters.add(acme, images=-2)
    Tombstone.objects.filter(pk=tombstone.pk).update(expires_at=timezone.now())
    return tombstone


def test_what_is_past_its_time_is_removed(acme, expired, run):
    assert "Would permanently delete 3 images" in run("purge_trash", "--dry-run")
    assert acme.images.count() == StoredFile.objects.count() == 6
    assert run("purge_trash") == "3 images permanently deleted.\n"
    assert acme.images.count() == StoredFile.objects.count() == 3
    assert acme.images.in_trash().count() == 1
    events = AuditEvent.objects.filter(action="deletion.purged")
    assert {event.source for event in events} == {"command"}
    assert sum(event.count for event in events) == 3
    assert run("purge_trash") == "0 images permanently deleted.\n"
    assert consistency_errors() == []


@committing
def test_purging_is_paused_by_ctrl_c_and_resumed(acme, expired, run, refused, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("rokka.core.failpoints.failpoint", lambda name: ctrl_c() if name == "purge.committed" else None)
        assert "Paused: 2 images permanently deleted" in refused("purge_trash", status=130)
    assert acme.images.count() == 4
    assert consistency_errors() == []
    assert run("purge_trash") == "1 image permanently deleted.\n"
    assert consistency_errors() == []


def test_a_storage_that_fails_ends_the_purge(acme, expired, run, refused, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "move_to_trash", raising(StorageUnavailable("The storage does not answer.")))
        assert "does not answer" in refused("purge_trash")
    run("purge_trash")
    assert acme.images.count() == 3
    assert consistency_errors() == []
