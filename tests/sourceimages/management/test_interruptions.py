"""Commands that are interrupted or killed, and resumed."""

import signal

import pytest
from django.db import OperationalError
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job, Organization
from sourceimages import jobs
from sourceimages.errors import StorageUnavailable
from sourceimages.management import job_command
from sourceimages.models import Tombstone
from sourceimages.storage import LocalStorage
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import active_hashes, age, committing, ctrl_c, facts, raising, state
from tests.support import images


@committing
def test_copying_is_paused_by_ctrl_c_and_resumed(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    said = refused("copy_all", "acme", "other", "--yes", status=130)
    assert facts(said)["created"] == 4
    assert "4 of 6 processed. Run the same command again to resume." in said
    assert len(active_hashes(other)) == 4
    assert Job.objects.get().state == Job.State.PAUSED
    assert consistency_errors() == []
    assert "(4 of 6 processed)" in run("copy_all", "acme", "other", "--dry-run")
    assert "copy 2 images" in run("copy_all", "acme", "other", "--dry-run")
    assert facts(run("copy_all", "acme", "other", "--yes")) == {
        "created": 6,
        "skipped_existing": 0,
        "overwritten": 0,
        "locked": 0,
        "failed": 0,
    }
    assert active_hashes(other) == active_hashes(acme)
    assert Job.objects.get().state == Job.State.SUCCEEDED
    verbs = AuditEvent.objects.filter(target="copy_all").order_by("id").values_list("action", flat=True)
    assert list(verbs) == ["job.started", "job.paused", "job.resumed", "job.succeeded"]
    assert consistency_errors() == []


@committing
@pytest.mark.parametrize("where", ["organizations.usage.counters.add", "sourceimages.jobs.snapshot.settle"])
def test_a_batch_that_is_interrupted_in_the_middle_is_done_again(acme, other, six, run, refused, monkeypatch, where):
    for command in (["copy_all", "acme", "other"], ["delete_all", "acme"], ["restore_all", "acme"]):
        with monkeypatch.context() as patch:
            patch.setattr(where, raising(KeyboardInterrupt()))
            before = state(acme), state(other)
            assert "0 of 6" in refused(*command, "--yes", status=130)
            assert (state(acme), state(other)) == before
            assert consistency_errors() == []
        assert "(0 of 6 processed)" in run(*command, "--yes")
    assert active_hashes(acme) == active_hashes(other) == {image.hash for image in six}
    assert Tombstone.objects.count() == 1
    assert set(Job.objects.values_list("state", "processed")) == {("succeeded", 6)}
    assert consistency_errors() == []


@committing
def test_deleting_is_paused_by_ctrl_c_and_resumed_with_the_same_tombstone(acme, six, run, refused, at_batch):
    before = state(acme)
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    said = refused("delete_all", "acme", "--yes", status=130)
    assert facts(said) == {"deleted": 4, "locked": 0, "failed": 0}
    assert len(active_hashes(acme)) == 2
    assert consistency_errors() == []
    assert "(4 of 6 processed)" in run("delete_all", "acme", "--yes")
    assert active_hashes(acme) == set()
    assert acme.tombstones.count() == 1
    at_batch(jobs.RESTORE_DELETION, 2, ctrl_c)
    assert "4 of 6" in refused("restore_all", "acme", "--yes", status=130)
    assert len(active_hashes(acme)) == 4
    assert facts(run("restore_all", "acme", "--yes"))["restored"] == 6
    assert state(acme) == before
    assert consistency_errors() == []


def test_half_of_a_deletion_can_be_undone_and_then_starts_again(acme, six, run, refused, at_batch):
    before = state(acme)
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    refused("delete_all", "acme", "--yes", status=130)
    run("restore_all", "acme", "--yes")
    assert state(acme) == before
    printed = run("delete_all", "acme", "--yes")
    assert facts(printed)["deleted"] == 6
    assert "Resuming" not in printed
    assert active_hashes(acme) == set()
    run("restore_all", "acme", "--yes")
    assert state(acme) == before
    assert consistency_errors() == []


def test_a_deletion_that_could_not_be_undone_any_more_is_not_resumed(acme, six, run, refused, at_batch):
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    refused("delete_all", "acme", "--yes", status=130)
    acme.tombstones.update(expires_at=timezone.now())
    assert facts(run("delete_all", "acme", "--yes"))["deleted"] == 2
    assert acme.images.in_trash().count() == 2
    run("restore_all", "acme", "--yes")
    assert len(active_hashes(acme)) == 2


def test_a_deletion_whose_tombstone_expires_fails_and_deletes_nothing_more(acme, six, refused, at_batch):
    at_batch(jobs.DELETE_ALL, 2, lambda: acme.tombstones.update(expires_at=timezone.now()))
    assert "has expired" in refused("delete_all", "acme", "--yes")
    assert Job.objects.get().state == Job.State.FAILED
    assert len(active_hashes(acme)) == 4


def test_only_the_same_arguments_resume(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", "--created-after", "2001-01-01", status=130)
    for different in ([], ["--overwrite"], ["--format", "png"]):
        assert "Resuming" not in run("copy_all", "acme", "other", "--dry-run", *different)
    # The same time, the end of the day, written differently.
    assert "Resuming" in run("copy_all", "acme", "other", "--yes", "--created-after", "2001-01-01T23:59:59Z")
    assert active_hashes(other) == active_hashes(acme)


def test_images_added_after_an_interruption_are_included_by_the_resumed_run(
    acme, other, alice, six, run, refused, at_batch
):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    alice.upload(acme, images.png(seed=7))
    assert "copy 2 images" in run("copy_all", "acme", "other", "--dry-run")
    said = run("copy_all", "acme", "other", "--yes")
    assert "(4 of 6 processed)" in said
    assert "Images added since:\ncreated:          1\n" in said
    assert active_hashes(other) == active_hashes(acme)
    assert [(job.state, job.total, job.processed) for job in Job.objects.order_by("created")] == [
        ("succeeded", 6, 6),
        ("succeeded", 1, 1),
    ]


def test_what_was_uploaded_since_is_deleted_by_a_deletion_of_its_own(acme, alice, six, run, refused, at_batch):
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    refused("delete_all", "acme", "--yes", status=130)
    alice.upload(acme, images.png(seed=7))
    assert "then 1 image added since. Continue?" in run("delete_all", "acme", typed="y\n")
    assert active_hashes(acme) == set()
    assert [tombstone.images.count() for tombstone in acme.tombstones.order_by("deleted_at")] == [6, 1]


def test_what_comes_while_the_question_is_read_is_not_done(
    acme, other, alice, six, run, refused, at_batch, monkeypatch
):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    monkeypatch.setattr(job_command, "confirm", lambda what: alice.upload(acme, images.png(seed=7)))
    run("copy_all", "acme", "other")
    assert len(active_hashes(other)) == 6


@pytest.mark.parametrize("command", [("copy_all", "acme", "other"), ("delete_all", "acme")])
def test_a_question_is_asked_again_if_other_images_match_by_then(acme, other, alice, six, run, monkeypatch, command):
    asked = []

    def asking(what):
        asked.append(what)
        if len(asked) == 1:
            alice.upload(acme, images.png(seed=7))
            assert not Job.objects.exists()

    monkeypatch.setattr(job_command, "confirm", asking)
    assert "7 images match now" in run(*command)
    assert ["6 images" in asked[0], "7 images" in asked[1]] == [True, True]
    assert (Job.objects.get().total, Job.objects.get().processed) == (7, 7)
    assert Tombstone.objects.count() == (command[0] == "delete_all")


@pytest.mark.parametrize("source", ["api", "staff"])
@pytest.mark.parametrize("state", ["running", "paused"])
def test_the_same_job_of_another_user_is_not_joined(acme, other, six, run, source, state):
    theirs = jobs.start_copy_all(acme, other, overwrite=False, actor=COMMAND)
    jobs.run_one_batch(theirs.pk)
    Job.objects.filter(pk=theirs.pk).update(source=source, state=state)
    before = Job.objects.filter(pk=theirs.pk).values().get()
    for _ in range(2):
        said = run("copy_all", "acme", "other", "--yes")
        assert "Resuming" not in said
        assert facts(said)["created"] + facts(said)["skipped_existing"] == 6
    assert Job.objects.filter(pk=theirs.pk).values().get() == before
    assert active_hashes(other) == active_hashes(acme)


def test_a_deletion_of_another_user_is_not_joined_but_refused(acme, six, refused):
    theirs = jobs.start_delete_all(acme, actor=COMMAND)
    Job.objects.filter(pk=theirs.pk).update(source="api")
    for queue in ((), ("--background",)):
        assert "Another job deletes or restores images" in refused("delete_all", "acme", "--yes", *queue)
    assert len(active_hashes(acme)) == 6
    assert Job.objects.get().processed == 0


def test_resuming_asks_for_confirmation_too(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    assert "copy 2 images" in refused("copy_all", "acme", "other")
    assert "Nothing was changed" in refused("copy_all", "acme", "other", typed="n\n")
    assert Job.objects.get().state == Job.State.PAUSED
    assert len(active_hashes(other)) == 4


def test_ctrl_c_after_the_last_batch_comes_too_late(acme, other, six, run, at_batch):
    at_batch(jobs.COPY_ALL, 4, ctrl_c)
    assert facts(run("copy_all", "acme", "other", "--yes"))["created"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@committing
def test_a_second_ctrl_c_does_not_wait(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: (ctrl_c(), ctrl_c()))
    assert "2 of 6" in refused("copy_all", "acme", "other", "--yes", status=130)
    assert len(active_hashes(other)) == 2


def test_sigterm_is_an_interruption(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 1, lambda: signal.raise_signal(signal.SIGTERM))
    refused("copy_all", "acme", "other", "--yes", status=130)
    run("copy_all", "acme", "other", "--yes")
    assert active_hashes(other) == active_hashes(acme)


@committing
@pytest.mark.parametrize("error", [StorageUnavailable("It does not answer."), OperationalError("It does\nnot answer")])
def test_a_run_that_fails_in_the_middle_can_be_resumed(acme, other, six, run, refused, at_batch, error):
    at_batch(jobs.COPY_ALL, 2, raising(error))
    said = refused("copy_all", "acme", "other", "--yes")
    assert "It does not answer. 2 of 6 processed. Run the same command again to resume." in said
    assert len(active_hashes(other)) == 2
    assert consistency_errors() == []
    assert "(2 of 6 processed)" in run("copy_all", "acme", "other", "--yes")
    assert active_hashes(other) == active_hashes(acme)
    assert consistency_errors() == []


@committing
def test_a_storage_without_room_leaves_nothing_behind(acme, other, six, run, refused, monkeypatch):
    link, count = LocalStorage._link, 0

    def full(self, source, target):
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(28, "No space left on device")
        link(self, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "_link", full)
        assert "not reachable or full" in refused("copy_all", "acme", "other", "--yes")
    assert len(active_hashes(other)) == 2
    run("copy_all", "acme", "other", "--yes")
    assert active_hashes(other) == active_hashes(acme)
    assert consistency_errors() == []


@committing
@pytest.mark.parametrize("kind", [jobs.COPY_ALL, jobs.DELETE_ALL])
def test_a_killed_command_is_resumed_once_its_heartbeat_is_old(acme, other, six, run, refused, at_batch, kind):
    command = ["copy_all", "acme", "other"] if kind == jobs.COPY_ALL else ["delete_all", "acme"]
    at_batch(kind, 2, raising(SystemExit()))
    with pytest.raises(SystemExit):
        run(*command, "--yes")
    assert Job.objects.get().state == Job.State.RUNNING
    assert "Another run is in progress" in refused(*command, "--yes")
    assert "Another run is in progress" in refused(*command, "--dry-run")
    assert Job.objects.get().processed == 2
    age(Job.objects.get())
    assert "(2 of 6 processed)" in run(*command, "--yes")
    assert Job.objects.get().state == Job.State.SUCCEEDED
    assert active_hashes(other if kind == jobs.COPY_ALL else acme) == (
        active_hashes(acme) if kind == jobs.COPY_ALL else set()
    )
    assert consistency_errors() == []


def test_a_cancelled_job_ends_the_command(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: jobs.cancel(Job.objects.get(), actor=COMMAND))
    said = refused("copy_all", "acme", "other", "--yes")
    assert "The job was cancelled: 2 of 6" in said
    assert len(active_hashes(other)) == 2


def test_a_job_that_cannot_be_done_ends_the_command(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: Organization.objects.filter(pk=other.pk).update(name="renamed"))
    assert "Organization 'other' not found" in refused("copy_all", "acme", "other", "--yes")
    assert Job.objects.get().state == Job.State.FAILED
