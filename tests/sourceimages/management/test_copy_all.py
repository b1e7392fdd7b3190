"""The command copy_all."""

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from organizations.usage import counters
from sourceimages.management import job_command
from sourceimages.operations import rename_image, set_locked
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import active_hashes, facts, nothing_happened, state


def test_everything_is_copied(acme, other, six, run):
    printed = run("copy_all", "acme", "other", "--yes")
    assert facts(printed) == {"created": 6, "skipped_existing": 0, "overwritten": 0, "locked": 0, "failed": 0}
    assert active_hashes(other) == active_hashes(acme) == {image.hash for image in six}
    assert [event.source for event in AuditEvent.objects.filter(action__startswith="job.")] == ["command", "command"]
    assert consistency_errors() == []


def test_copying_again_finds_everything_there(acme, other, six, run):
    run("copy_all", "acme", "other", "--yes")
    before = state(other)
    printed = run("copy_all", "acme", "other", "--yes")
    assert facts(printed) == {"created": 0, "skipped_existing": 6, "overwritten": 0, "locked": 0, "failed": 0}
    assert state(other) == before
    assert consistency_errors() == []


def test_what_is_there_is_overwritten_unless_it_is_locked(acme, other, six, run, refused):
    run("copy_all", "acme", "other", "--yes")
    locked = other.images.get(name="0.png")
    set_locked(locked, True, actor=COMMAND)
    for image in six:
        rename_image(image, "new.png", actor=COMMAND)
    printed = refused("copy_all", "acme", "other", "--overwrite", "--yes", status=3)
    assert facts(printed) == {"created": 0, "skipped_existing": 0, "overwritten": 5, "locked": 1, "failed": 0}
    assert f"Skipped or failed:\n  {locked.hash} new.png: Destination image is locked.\n" in printed
    assert {image.name for image in other.images.exclude(pk=locked.pk)} == {"new.png"}
    assert consistency_errors() == []


def test_nothing_is_named_without_end(acme, other, six, run, refused, monkeypatch):
    monkeypatch.setattr(job_command, "NAME_LIMIT", 2)
    acme.images.update(locked=True)
    printed = run("delete_all", "acme", "--yes")
    assert "Nothing to do" in printed  # all are locked
    run("copy_all", "acme", "other", "--yes")
    other.images.update(locked=True)
    printed = refused("copy_all", "acme", "other", "--yes", "--overwrite", status=3)
    assert printed.count(".png") == 2
    assert "… and more" in printed


def test_images_that_cannot_be_copied_fail_the_command(acme, other, six, refused, storage_dir):
    lost = six[3]
    (storage_dir / lost.file.key).unlink()
    said = refused("copy_all", "acme", "other", "--yes", status=3)
    assert facts(said) == {"created": 5, "skipped_existing": 0, "overwritten": 0, "locked": 0, "failed": 1}
    assert "1 image failed: the image or its file no longer exists" in said
    assert f"Skipped or failed:\n  {lost.hash} 3.png: Image or file no longer exists." in said
    assert active_hashes(other) == {image.hash for image in six} - {lost.hash}


def test_a_different_file_at_the_destination_with_the_same_sha1_fail_the_command(acme, other, six, run, refused):
    run("copy_all", "acme", "other", "--yes", "--name", "0")
    other.images.get().delete()
    counters.add(other, images=-1)
    other.files.update(uploaded_sha256="0" * 64)
    said = refused("copy_all", "acme", "other", "--yes", status=3)
    assert "1 image failed: a different file with the same SHA-1" in said
    assert active_hashes(other) == {image.hash for image in six[1:]}


def test_a_destination_that_cannot_be_is_refused(acme, six, refused):
    assert "another organization" in refused("copy_all", "acme", "acme", "--yes")
    assert "another organization" in refused("copy_all", "acme", "acme", "--dry-run")
    assert "Organization 'unknown' not found" in refused("copy_all", "acme", "unknown", "--yes")
    assert "Organization 'unknown' not found" in refused("copy_all", "unknown", "acme", "--yes")
    assert nothing_happened()
