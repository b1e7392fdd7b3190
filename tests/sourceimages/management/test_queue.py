"""Commands that let workers do it and watch, and the bar that they show."""

import pytest
from django.core.management import call_command

from organizations.audit import COMMAND
from organizations.models import Job
from sourceimages import jobs
from sourceimages.management import job_command
from tests.conftest import contradictions
from tests.sourceimages.management.conftest import Terminal, ctrl_c, facts, living, raising

# --- The queue --------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers(settings, monkeypatch) -> list[object]:
    """Jobs that were handed to workers, which do one batch each time that somebody looks."""
    settings.CELERY_TASK_ALWAYS_EAGER = False
    handed: list[object] = []
    monkeypatch.setattr(job_command, "enqueue_job", handed.append)
    monkeypatch.setattr(job_command.time, "sleep", lambda seconds: jobs.run_one_batch(handed[-1]))
    return handed


def test_without_redis_the_queue_is_this_process(acme, other, six, run, settings):
    settings.CELERY_TASK_ALWAYS_EAGER = True
    printed = run("copy_all", "acme", "other", "--yes", "--background")
    assert "no workers" in printed
    assert facts(printed)["created"] == 6
    assert living(other) == living(acme)
    assert contradictions() == []


def test_workers_are_watched_until_they_are_done(acme, other, six, run, workers):
    assert facts(run("copy_all", "acme", "other", "--yes", "--background"))["created"] == 6
    assert facts(run("delete_all", "acme", "--yes", "--background"))["deleted"] == 6
    assert facts(run("restore_all", "acme", "--yes", "--background"))["restored"] == 6
    assert workers == [job.pk for job in Job.objects.order_by("created")]
    assert living(other) == living(acme) == {image.hash for image in six}


def test_ctrl_c_while_watching_ends_only_the_watching(acme, other, six, run, refused, workers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(job_command.time, "sleep", raising(KeyboardInterrupt()))
        said = refused("delete_all", "acme", "--yes", "--background", status=130)
    job = Job.objects.get()
    assert job.state == Job.State.QUEUED
    assert f"DELETE /jobs/acme/{job.pk} stops it" in said
    assert "Somebody is doing this" in refused("delete_all", "acme", "--yes")
    run("delete_all", "acme", "--yes", "--background")
    assert Job.objects.get().state == Job.State.SUCCEEDED
    assert living(acme) == set()


def test_an_interrupted_command_is_gone_on_with_by_workers(acme, other, six, run, refused, at_batch, workers):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    assert "has come to 4 of 6" in run("copy_all", "acme", "other", "--yes", "--background")
    assert workers == [Job.objects.get().pk]
    assert living(other) == living(acme)


def test_a_job_that_is_stopped_ends_the_watching(acme, other, six, refused, workers, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: jobs.cancel(Job.objects.get(), actor=COMMAND))
    assert "Somebody has stopped it: 2 of 6" in refused("copy_all", "acme", "other", "--yes", "--background")


def test_missing_workers_are_mentioned(acme, other, six, workers, monkeypatch, capsys):
    monkeypatch.setattr(job_command, "STALE_SECONDS", -1)
    call_command("copy_all", "acme", "other", "--yes", "--background")
    assert capsys.readouterr().err.count("Is a worker running?") == 1


# --- The bar ----------------------------------------------------------------------------------------------------------


def test_progress_is_shown_at_a_terminal_only(acme, other, six, run, monkeypatch, capsys):
    run("copy_all", "acme", "other", "--yes")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        call_command("copy_all", "acme", "other", "--yes")
    assert "100%" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()
