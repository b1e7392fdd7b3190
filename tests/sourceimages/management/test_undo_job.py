"""Undoing what a job has done, at a terminal."""

import uuid

import pytest

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.jobs import undo
from sourceimages.operations import rename_image
from tests.conftest import contradictions
from tests.sourceimages.management.conftest import committing, ctrl_c, facts, living, state


@pytest.fixture
def copied(acme, other, six, run, monkeypatch):
    monkeypatch.setattr(undo, "BATCH", 2)
    run("copy_all", "acme", "other", "--yes")
    return Job.objects.get(kind="copy_all")


@committing
def test_a_copy_is_undone(acme, other, copied, run):
    before = state(acme)
    assert "6 pictures" in run("undo_job", str(copied.pk), "--dry-run")
    assert len(living(other)) == 6
    printed = run("undo_job", str(copied.pk), "--yes")
    assert facts(printed)["undone"] == 6
    assert (living(other), state(acme)) == (set(), before)
    assert contradictions() == []


@committing
def test_what_was_changed_since_is_named(acme, other, copied, refused):
    mine = other.images.first()
    rename_image(mine, "mine.png", actor=COMMAND)
    printed = refused("undo_job", str(copied.pk), "--yes", status=3)
    assert f"Skipped or failed:\n  {mine.hash} mine.png: It was changed after the job.\n" in printed
    assert living(other) == {mine.hash}


@committing
def test_an_interrupted_undo_goes_on(acme, other, copied, run, refused, at_batch):
    at_batch(jobs.UNDO, 2, ctrl_c)
    refused("undo_job", str(copied.pk), "--yes", status=130)
    assert 0 < len(living(other)) < 6
    assert "An earlier run began" in run("undo_job", str(copied.pk), "--yes")
    assert (living(other), Job.objects.filter(kind="undo").count()) == (set(), 1)


@committing
def test_a_deletion_is_undone_by_restoring_it(acme, six, run):
    before = state(acme)
    run("delete_all", "acme", "--yes")
    assert facts(run("undo_job", str(Job.objects.get().pk), "--yes"))["restored"] == 6
    assert state(acme) == before


def test_a_job_that_does_not_exist_is_refused(db, refused):
    assert "is not the id of a job" in refused("undo_job", "x", "--yes")
    assert "There is no job" in refused("undo_job", str(uuid.uuid4()), "--yes")


def test_nobody_there_to_be_asked_changes_nothing(acme, other, copied, refused):
    assert "use --yes" in refused("undo_job", str(copied.pk))
    assert len(living(other)) == 6
