"""Unexpected errors in one image or in a whole job: no job waits forever, and failed images can be retried."""

from datetime import timedelta

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone

from organizations.models import AuditEvent, Job
from rokka.core.errors import Unavailable
from sourceimages import jobs, tasks
from sourceimages.errors import JobExpired, JobInProgress, NothingToRetry, StorageUnavailable
from sourceimages.jobs import retries
from sourceimages.jobs.bulk_actions import BULK_ACTIONS, base
from sourceimages.jobs.selection import Selection
from sourceimages.models import JobImage, SourceImage, Tombstone
from sourceimages.operations import set_locked
from sourceimages.storage import LocalStorage
from tests.support.rows import insert_images

pytestmark = pytest.mark.usefixtures("consistent")
CHANGES = {"changes": {"int:year": 1999}}


@pytest.fixture
def five(acme, alice):
    return insert_images(acme, 5, actor=alice.actor)


@pytest.fixture
def broken(five):
    """The third image, with user metadata of an unexpected type until the end of the test."""
    SourceImage.objects.filter(pk=five[2].pk).update(user_metadata=["not an object"])
    yield five[2]
    SourceImage.objects.filter(pk=five[2].pk, user_metadata=["not an object"]).update(user_metadata={})


def start_set_metadata(acme, alice):
    return jobs.start_bulk_action("set_metadata", Selection(acme, in_trash=False), actor=alice.actor, **CHANGES)


def years(acme):
    """Return the year of each active image, by ascending id; None without one."""
    documents = acme.images.active().order_by("id").values_list("user_metadata", flat=True)
    return [document.get("int:year") if isinstance(document, dict) else None for document in documents]


def attempts_of(job):
    job.refresh_from_db()
    return job.attempts


# --- One image --------------------------------------------------------------------------------------------------------


def test_an_image_with_an_unexpected_error_fails_and_the_others_are_processed(acme, five, alice, broken):
    job = jobs.run(start_set_metadata(acme, alice).pk)
    assert (job.state, job.total, job.processed, job.failed, job.skipped) == ("succeeded_with_errors", 5, 5, 1, 0)
    assert job.counts == {"updated": 4, "failed": 1}
    (failure,) = job.errors
    assert failure["hash"] == broken.hash
    assert failure["message"].startswith("AttributeError: ")
    assert years(acme) == [1999, 1999, None, 1999, 1999]
    (event,) = AuditEvent.objects.filter(action="job.succeeded_with_errors")
    assert (event.count, event.user, event.details["counts"]) == (5, alice.user, job.counts)


def test_an_image_fails_after_three_attempts_whose_count_survives_restarts(acme, five, alice, broken):
    job = start_set_metadata(acme, alice)
    assert jobs.run_one_batch(job.pk).processed == 0  # the whole batch
    assert [jobs.run_one_batch(job.pk).processed, jobs.run_one_batch(job.pk).processed] == [1, 2]  # one by one
    for attempts in (1, 2):
        assert (jobs.run_one_batch(job.pk).processed, attempts_of(job)) == (2, attempts)
    assert (jobs.run_one_batch(job.pk).processed, attempts_of(job)) == (3, 0)
    assert (jobs.run_one_batch(job.pk).processed, jobs.run_one_batch(job.pk).processed) == (4, 5)


def test_a_failed_image_is_processed_by_a_retry(acme, five, alice, broken):
    first = jobs.run(start_set_metadata(acme, alice).pk)
    SourceImage.objects.filter(pk=broken.pk).update(user_metadata={})
    retry = jobs.start_retry(first, actor=alice.actor)
    assert (retry.total, retry.params["retry_of"]) == (1, str(first.pk))
    retry = jobs.run(retry.pk)
    assert (retry.state, retry.counts, retry.errors) == ("succeeded", {"updated": 1}, [])
    assert years(acme) == [1999] * 5


def test_a_retry_processes_all_skipped_images_not_only_those_listed_in_errors(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.progress.MAX_FAILURES", 2)
    for image in five[:4]:
        set_locked(image, True, actor=alice.actor)
    first = jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk)
    assert (first.state, first.skipped, len(first.errors)) == ("succeeded_with_errors", 4, 2)
    for image in five[:4]:
        set_locked(image, False, actor=alice.actor)
    retry = jobs.run(jobs.start_retry(first, actor=alice.actor).pk)
    assert (retry.state, retry.counts) == ("succeeded", {"deleted": 4})
    assert retry.params["deletion_id"] != first.params["deletion_id"]
    assert {tombstone.images.count() for tombstone in Tombstone.objects.all()} == {1, 4}


def test_unfinished_successful_and_expired_jobs_are_not_retried(acme, five, alice):
    job = start_set_metadata(acme, alice)
    with pytest.raises(NothingToRetry):
        jobs.start_retry(job, actor=alice.actor)
    with pytest.raises(NothingToRetry):
        jobs.start_retry(jobs.run(job.pk), actor=alice.actor)
    set_locked(five[0], True, actor=alice.actor)
    job = jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk)
    Job.objects.filter(pk=job.pk).update(finished=timezone.now() - timedelta(days=31))
    with pytest.raises(JobExpired):
        jobs.start_retry(jobs.get(acme, str(job.pk)), actor=alice.actor)
    assert Job.objects.count() == 2


def test_a_retry_of_delete_all_does_not_run_beside_a_restore(acme, five, alice):
    set_locked(five[0], True, actor=alice.actor)
    job = jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk)
    jobs.start_restore(acme, actor=alice.actor)
    before = Tombstone.objects.count()
    with pytest.raises(JobInProgress):
        jobs.start_retry(job, actor=alice.actor)
    assert Tombstone.objects.count() == before


# --- The whole job ----------------------------------------------------------------------------------------------------


def test_an_unexpected_error_outside_of_a_batch_fails_the_job_after_five_attempts(acme, five, alice):
    job = jobs.start_delete_all(acme, actor=alice.actor)
    Job.objects.filter(pk=job.pk).update(params={"filters": {}})  # KeyError: 'deletion_id'
    for attempts in (1, 2, 3, 4):
        assert (jobs.run_one_batch(job.pk).state, attempts_of(job)) == ("running", attempts)
    failed = jobs.run_one_batch(job.pk)
    assert (failed.state, failed.processed, failed.error) == ("failed", 0, "KeyError: 'deletion_id'")
    assert acme.images.active().count() == 5
    assert jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk).counts == {"deleted": 5}


def test_error_texts_contain_no_credentials():
    error = ValueError("cannot reach postgres://rokka:secret@db:5432/rokka\nwith more of it")
    assert retries.error_text(error) == "ValueError: cannot reach postgres://db:5432/rokka"
    assert len(retries.error_text(ValueError("x" * 5000))) == retries.MAX_MESSAGE


# --- Transient errors -------------------------------------------------------------------------------------------------


@pytest.fixture
def unavailable(monkeypatch):
    def refuse(self, pairs):
        raise StorageUnavailable("The storage does not respond.")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "copy", refuse)
        yield patch


def test_a_job_waits_with_growing_pauses_while_the_storage_is_unavailable(acme, stage, five, alice, unavailable):
    with time_machine.travel("2026-01-01T00:00:00Z", tick=False) as clock:
        job = jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor)
        pauses = []
        for _ in range(12):
            with pytest.raises(StorageUnavailable):
                jobs.run(job.pk)
            job.refresh_from_db()
            assert jobs.stalled(seconds=0) == []
            pauses.append((job.retry_at - timezone.now()).total_seconds())
            clock.move_to(job.retry_at)
            assert jobs.stalled(seconds=10_000) == [job.pk]
        assert pauses == sorted(pauses)
        assert (pauses[0], 100 < pauses[-1] <= 600) == (5, True)
        assert (job.state, job.attempts, job.errors) == ("running", 0, [])
        unavailable.undo()
        job = jobs.run(job.pk)
        assert (job.state, job.counts, job.stuck_since) == ("succeeded", {"created": 5}, None)


def test_a_job_of_a_newer_version_waits_for_a_newer_worker(acme, five, alice):
    job = start_set_metadata(acme, alice)
    Job.objects.filter(pk=job.pk).update(kind="from_the_future")
    with pytest.raises(Unavailable):
        jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors, job.retry_at is not None) == ("running", 0, [], True)
    Job.objects.filter(pk=job.pk).update(kind="set_metadata")
    assert jobs.run(job.pk).state == "succeeded"


def test_a_job_fails_after_a_day_without_storage_and_can_be_resumed(acme, stage, five, alice, unavailable):
    job = jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor)
    for days in (0, 0.9, 1.1):
        with time_machine.travel(timezone.now() + timedelta(days=days)), pytest.raises(StorageUnavailable):
            jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.processed) == ("failed", 0)
    assert "The storage does not respond." in job.error
    unavailable.undo()
    assert jobs.run(jobs.resume(job, actor=alice.actor).pk).counts == {"created": 5}


@pytest.mark.parametrize("error", [StorageUnavailable("No response."), OperationalError("No response.")])
def test_a_waiting_job_does_not_block_the_next_one(acme, stage, five, alice, monkeypatch, in_process, error):
    def refuse(job_id):
        raise error

    with time_machine.travel(timezone.now() - timedelta(minutes=5)):
        waiting = jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor)
        other = start_set_metadata(acme, alice)
    monkeypatch.setattr(jobs.KINDS[jobs.COPY_ALL], "run_batch", refuse)
    tasks.resume_jobs()
    waiting.refresh_from_db()
    other.refresh_from_db()
    assert (waiting.state, other.state) == ("running", "succeeded")
    assert jobs.is_waiting(waiting.pk)


# --- Killed processes -------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def killer_image(monkeypatch, five):
    """The third image: a process that processes it is killed."""
    action = BULK_ACTIONS["set_metadata"]
    apply = action.apply

    def kill(images, params, actor):
        if five[2] in images:
            raise KilledError
        return apply(images, params, actor)

    monkeypatch.setattr(action, "apply", kill)
    return five[2]


def run_until_killed(job):
    """Run the job in a process that can be killed. Return the job as the next process finds it."""
    try:
        return jobs.run(job.pk)
    except KilledError:
        jobs.handle_killed(job.pk)
        job.refresh_from_db()
        return job


def test_an_image_that_kills_its_process_fails_and_the_others_are_processed(acme, five, alice, killer_image):
    job, kills = start_set_metadata(acme, alice), 0
    while (job := run_until_killed(job)).unfinished:
        kills += 1
        assert kills < 10
    assert (job.state, job.processed, job.counts) == ("succeeded_with_errors", 5, {"updated": 4, "failed": 1})
    assert job.errors == [{"hash": killer_image.hash, "message": retries.KILLED_MESSAGE}]
    assert years(acme) == [1999, 1999, None, 1999, 1999]


def test_a_process_killed_between_two_batches_is_not_an_attempt(acme, five, alice, monkeypatch):
    monkeypatch.setattr(base, "TRANSACTION_BATCH", 2)
    job = start_set_metadata(acme, alice)
    for _ in range(2):
        jobs.run_one_batch(job.pk)
        for _ in range(5):
            jobs.handle_killed(job.pk)
    assert (attempts_of(job), job.single_until_id) == (0, 0)
    assert jobs.run(job.pk).counts == {"updated": 5}


def test_a_finished_job_keeps_the_rows_of_failed_images_only(acme, five, alice, broken):
    job = jobs.run(start_set_metadata(acme, alice).pk)
    assert [(row.image_id, row.job_id) for row in JobImage.objects.exclude(message="")] == [(broken.pk, job.pk)]
    assert JobImage.objects.count() == 1
