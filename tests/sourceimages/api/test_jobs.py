"""Jobs in the API."""

from datetime import timedelta
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.operations import set_roles
from organizations.permissions import Role
from sourceimages import jobs, queue, tasks
from sourceimages.models import Tombstone
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")  # after each test


@pytest.fixture
def five(acme, alice):
    return [alice.upload(acme, images.png(seed=seed)).json()["items"][0]["hash"] for seed in range(5)]


def start(user, **fields):
    return user.api.post("/jobs/acme", fields, format="json")


@pytest.fixture
def run_job(django_capture_on_commit_callbacks, in_process):
    """Return a function that starts a job, runs it as after a commit, and returns it as the API shows it."""

    def run(user, **fields):
        with django_capture_on_commit_callbacks(execute=True):
            response = start(user, **fields)
        assert response.status_code == 202, response.json()
        assert response.headers["Location"] == f"/jobs/acme/{response.json()['id']}"
        return user.api.get(response.headers["Location"]).json()

    return run


def test_copy_all_copies_all_images(five, alice, stage, run_job):
    job = run_job(alice, kind="copy_all", destination="stage")
    assert (job["state"], job["total"], job["processed"], job["failed"]) == ("succeeded", 5, 5, 0)
    assert job["counts"] == {"created": 5}
    assert {image.hash for image in stage.images.active()} == set(five)
    repeated = run_job(alice, kind="copy_all", destination="stage")
    assert repeated["counts"] == {"skipped_existing": 5}
    overwriting = run_job(alice, kind="copy_all", destination="stage", overwrite=True)
    assert overwriting["counts"] == {"overwritten": 5}


def test_delete_all_skips_locked_images_and_its_deletion_is_restored(acme, five, alice, run_job):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    job = run_job(alice, kind="delete_all")
    assert (job["state"], job["processed"], job["skipped"]) == ("succeeded_with_errors", 5, 1)
    assert job["counts"] == {"deleted": 4, "locked": 1}
    assert [image.hash for image in acme.images.active()] == five[:1]
    assert Tombstone.objects.get().reason == "delete_all"
    alice.upload(acme, images.png(seed=1))
    restored = run_job(alice, kind="restore_deletion", deletion_id=job["params"]["deletion_id"])
    assert (restored["state"], restored["counts"]) == ("succeeded", {"restored": 3, "skipped_existing": 1})
    assert acme.images.active().count() == 5
    assert acme.images.in_trash().count() == 1


def test_the_latest_deletion_is_restored_by_default(acme, five, alice, run_job):
    alice.api.delete(f"/sourceimages/acme/{five[0]}")
    run_job(alice, kind="delete_all")
    assert run_job(alice, kind="restore_deletion")["counts"] == {"restored": 4}
    assert [image.hash for image in acme.images.in_trash()] == five[:1]


def test_a_finished_job_has_one_audit_event_with_its_counts(five, alice, run_job):
    job = run_job(alice, kind="delete_all")
    event = AuditEvent.objects.get(action="job.succeeded")
    assert (event.count, str(event.job_id)) == (5, job["id"])
    assert str(event.tombstone_id) == job["params"]["deletion_id"]
    assert (event.user, event.source) == (alice.user, "api")
    assert event.details["counts"] == {"deleted": 5}


def test_a_batch_begins_where_the_last_one_ended(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    remaining = []
    while jobs.run_one_batch(job.pk).unfinished:
        remaining.append(acme.images.active().count())
    assert remaining == [3, 1, 0]


def test_images_uploaded_after_the_start_are_not_deleted(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    later = alice.upload(acme, images.png(seed=99)).json()["items"][0]["hash"]
    jobs.run(job.pk)
    assert [image.hash for image in acme.images.active()] == [later]


def test_a_job_is_cancelled_before_its_next_batch(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    cancelled = alice.api.delete(f"/jobs/acme/{job.pk}").json()
    assert cancelled["state"] == "cancelled"
    assert jobs.run(job.pk).state == "cancelled"
    assert acme.images.active().count() == 3
    assert alice.api.delete(f"/jobs/acme/{job.pk}").json()["state"] == "cancelled"


def test_only_one_job_at_a_time_deletes_or_restores_all_images(acme, five, alice):
    jobs.start_delete_all(acme, actor=COMMAND)
    for kind in ("delete_all", "restore_deletion"):
        response = start(alice, kind=kind)
        assert (response.status_code, response.json()["error"]["reason"]) == (409, "job_in_progress")
    assert Job.objects.count() == 1
    assert Tombstone.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"kind": "make-coffee"}, 400),
        ({"kind": "copy_all"}, 400),
        ({"kind": "copy_all", "destination": "acme"}, 400),
        ({"kind": "copy_all", "destination": "missing"}, 400),
        ({"kind": "copy_all", "destination": "other"}, 403),
        ({"kind": "copy_all", "destination": "stage", "overwrite": "perhaps"}, 400),
        ({"kind": "restore_deletion"}, 404),
        ({"kind": "restore_deletion", "deletion_id": str(uuid4())}, 404),
        ({"kind": "restore_deletion", "deletion_id": "x"}, 404),
    ],
)
def test_invalid_jobs_are_not_started(acme, alice, stage, charlie, fields, status):
    assert start(alice, **fields).status_code == status
    assert not Job.objects.exists()


@pytest.fixture
def retry(django_capture_on_commit_callbacks, in_process):
    """Return a function that retries a job and runs the new one as after a commit."""

    def run(user, job):
        with django_capture_on_commit_callbacks(execute=True):
            return user.api.post(f"/jobs/acme/{job['id']}/retry")

    return run


def test_skipped_images_are_retried_by_a_new_job(acme, five, alice, run_job, retry):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    first = run_job(alice, kind="delete_all")
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", False, format="json")
    response = retry(alice, first)
    assert response.status_code == 202
    second = alice.api.get(response.headers["Location"]).json()
    assert (second["kind"], second["state"], second["total"]) == ("delete_all", "succeeded", 1)
    assert (second["counts"], second["params"]["retry_of"]) == ({"deleted": 1}, first["id"])
    assert alice.api.get(f"/jobs/acme/{first['id']}").json() == first
    refused = retry(alice, second)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "nothing_to_retry")


def test_retrying_requires_the_same_permissions_as_starting(acme, five, alice, stage, member, run_job, retry):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    job = run_job(alice, kind="delete_all")
    assert retry(member("write"), job).status_code == 403
    copied = jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk)
    Job.objects.filter(pk=copied.pk).update(skipped=1)
    bob = member("write", email="other@example.org")
    assert retry(bob, {"id": copied.pk}).status_code == 403  # Bob is not a member of stage
    assert retry(alice, {"id": uuid4()}).json()["error"]["reason"] == "job_not_found"
    assert Job.objects.count() == 2


@pytest.mark.parametrize("role", Role)
def test_each_kind_requires_its_permission(acme, alice, stage, member, role):
    bob = member(role)
    set_roles(stage, bob.user.pk, ["write"], comment=None, actor=COMMAND)
    readers = {Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ, Role.IMAGES_WRITE, Role.IMAGES_READ}
    writers = {Role.ADMIN, Role.WRITE, Role.IMAGES_WRITE}
    assert start(bob, kind="copy_all", destination="stage").status_code == (202 if role in readers else 403)
    assert start(bob, kind="restore_deletion").status_code == (404 if role in writers else 403)
    assert start(bob, kind="delete_all").status_code == (202 if role is Role.ADMIN else 403)
    running = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    assert bob.api.delete(f"/jobs/acme/{running.pk}").status_code == (200 if role in readers else 403)


def test_jobs_of_other_organizations_are_not_found(acme, five, alice, charlie):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    assert charlie.api.get(f"/jobs/other/{job.pk}").status_code == 404
    assert charlie.api.delete(f"/jobs/other/{job.pk}").status_code == 404
    assert charlie.api.get(f"/jobs/acme/{job.pk}").status_code == 403
    for job_id in ("x", str(uuid4())):
        assert alice.api.get(f"/jobs/acme/{job_id}").json()["error"]["reason"] == "job_not_found"


def test_jobs_are_listed_newest_first_in_pages(acme, stage, alice, monkeypatch):
    created = []
    for number in range(5):
        with time_machine.travel(f"2026-01-0{number + 1}T00:00:00Z", tick=False):
            created.append(str(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk))
    monkeypatch.setattr("sourceimages.api.jobs.PAGE_SIZE", 2)
    seen, query = [], ""
    for _ in range(5):
        body = alice.api.get(f"/jobs/acme?{query}").json()
        seen += [job["id"] for job in body["items"]]
        if "cursor" not in body:
            break
        query = f"cursor={body['cursor']}"
    assert seen == created[::-1]
    assert alice.api.get("/jobs/acme?cursor=x").status_code == 400


def test_a_stalled_job_is_resumed(acme, five, in_process, django_capture_on_commit_callbacks):
    with time_machine.travel(timezone.now() - timedelta(minutes=1)):
        job = jobs.start_delete_all(acme, actor=COMMAND)
        assert jobs.stalled(seconds=queue.STALE_SECONDS) == []
        assert jobs.run_one_batch(job.pk).unfinished
    with django_capture_on_commit_callbacks(execute=True):
        tasks.resume_jobs()
    job.refresh_from_db()
    assert job.state == "succeeded"


def test_a_job_whose_destination_no_longer_exists_fails_with_a_message(acme, five, stage):
    job = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"destination": "removed"})
    failed = jobs.run(job.pk)
    assert failed.state == "failed"
    assert failed.error == "Organization 'removed' not found."


def test_only_admins_cancel_a_reindex(acme, alice, member, five):
    job = jobs.start_reindex(acme, actor=COMMAND)
    assert member("sourceimages:write").api.delete(f"/jobs/acme/{job.pk}").status_code == 403
    assert alice.api.delete(f"/jobs/acme/{job.pk}").status_code < 300
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
