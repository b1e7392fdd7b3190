"""The command undo_job."""

import uuid

import pytest

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.jobs import undo
from sourceimages.operations import rename_image
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import active_hashes, committing, ctrl_c, facts, state


@pytest.fixture
def copied(acme, other, six, run, monkeypatch):
    monkeypatch.setattr(undo, "BATCH", 2)
    run("copy_all", "acme", "other", "--yes")
    return Job.objects.get(kind="copy_all")


@committing
def test_a_copy_is_undone(acme, other, copied, run):
    before = state(acme)
    assert "6 images" in run("undo_job", str(copied.pk), "--dry-run")
    assert len(active_hashes(other)) == 6
    printed = run("undo_job", str(copied.pk), "--yes")
    assert facts(printed)["undone"] == 6
    assert (active_hashes(other), state(acme)) == (set(), before)
    assert consistency_errors() == []


@committing
def test_what_was_changed_since_is_named(acme, other, copied, refused):
    mine = other.images.first()
    rename_image(mine, "mine.png", actor=COMMAND)
    printed = refused("undo_job", str(copied.pk), "--yes", status=3)
    assert f"Skipped or failed:\n  {mine.hash} mine.png: Image was changed after the job.\n" in printed
    assert active_hashes(other) == {mine.hash}


@committing
def test_an_interrupted_undo_is_resumed(acme, other, copied, run, refused, at_batch):
    at_batch(jobs.UNDO, 2, ctrl_c)
    refused("undo_job", str(copied.pk), "--yes", status=130)
    assert 0 < len(active_hashes(other)) < 6
    assert "Resuming the run started" in run("undo_job", str(copied.pk), "--yes")
    assert (active_hashes(other), Job.objects.filter(kind="undo").count()) == (set(), 1)


@committing
def test_a_deletion_is_undone_by_restoring_it(acme, six, run):
    before = state(acme)
    run("delete_all", "acme", "--yes")
    assert facts(run("undo_job", str(Job.objects.get().pk), "--yes"))["restored"] == 6
    assert state(acme) == before


def test_a_job_that_does_not_exist_is_refused(db, refused):
    assert "is not a valid job ID" in refused("undo_job", "x", "--yes")
    assert "not found" in refused("undo_job", str(uuid.uuid4()), "--yes")


def test_nothing_happens_without_a_terminal(acme, other, copied, refused):
    assert "pass --yes to confirm" in refused("undo_job", str(copied.pk))
    assert len(active_hashes(other)) == 6
