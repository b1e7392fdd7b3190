"""Commands with --background, and the progress bar."""

import pytest
from django.core.management import call_command

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs, queue
from sourceimages.management import job_command
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import Terminal, active_hashes, ctrl_c, facts, raising

# --- Background -------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers(monkeypatch) -> list[object]:
    """IDs of enqueued jobs; each poll of their progress runs one batch."""
    monkeypatch.setattr(queue, "INLINE", False)
    handed: list[object] = []
    monkeypatch.setattr(job_command, "enqueue_job", handed.append)
    monkeypatch.setattr(job_command.time, "sleep", lambda seconds: jobs.run_one_batch(handed[-1]))
    return handed


def test_without_workers_a_background_job_runs_in_this_process(acme, other, six, run, in_process):
    printed = run("copy_all", "acme", "other", "--yes", "--background")
    assert "no workers" in printed
    assert facts(printed)["created"] == 6
    assert active_hashes(other) == active_hashes(acme)
    assert consistency_errors() == []


def test_workers_are_watched_until_they_are_done(acme, other, six, run, workers):
    assert facts(run("copy_all", "acme", "other", "--yes", "--background"))["created"] == 6
    assert facts(run("delete_all", "acme", "--yes", "--background"))["deleted"] == 6
    assert facts(run("restore_all", "acme", "--yes", "--background"))["restored"] == 6
    assert workers == [job.pk for job in Job.objects.order_by("created")]
    assert active_hashes(other) == active_hashes(acme) == {image.hash for image in six}


def test_ctrl_c_while_watching_ends_only_the_watching(acme, other, six, run, refused, workers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(job_command.time, "sleep", raising(KeyboardInterrupt()))
        said = refused("delete_all", "acme", "--yes", "--background", status=130)
    job = Job.objects.get()
    assert job.state == Job.State.QUEUED
    assert f"DELETE /jobs/acme/{job.pk}." in said
    assert "Another run is in progress" in refused("delete_all", "acme", "--yes")
    run("delete_all", "acme", "--yes", "--background")
    assert Job.objects.get().state == Job.State.SUCCEEDED
    assert active_hashes(acme) == set()


def test_an_interrupted_command_is_resumed_by_workers(acme, other, six, run, refused, at_batch, workers):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    assert "(4 of 6 processed)" in run("copy_all", "acme", "other", "--yes", "--background")
    assert workers == [Job.objects.get().pk]
    assert active_hashes(other) == active_hashes(acme)


def test_a_cancelled_job_ends_the_progress(acme, other, six, refused, workers, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: jobs.cancel(Job.objects.get(), actor=COMMAND))
    assert "The job was cancelled: 2 of 6" in refused("copy_all", "acme", "other", "--yes", "--background")


def test_missing_workers_are_mentioned(acme, other, six, workers, monkeypatch, capsys):
    monkeypatch.setattr(job_command, "STALE_SECONDS", -1)
    call_command("copy_all", "acme", "other", "--yes", "--background")
    assert capsys.readouterr().err.count("Is a worker running?") == 1


# --- Progress bar -----------------------------------------------------------------------------------------------------


def test_progress_is_shown_at_a_terminal_only(acme, other, six, run, monkeypatch, capsys):
    run("copy_all", "acme", "other", "--yes")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        call_command("copy_all", "acme", "other", "--yes")
    assert "100%" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()
