"""Long work through the API."""

from datetime import timedelta
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.operations import set_roles
from organizations.permissions import Role
from sourceimages import jobs, tasks
from sourceimages.models import Tombstone
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")  # after each test


@pytest.fixture
def five(acme, alice):
    return [alice.upload(acme, images.png(seed=seed)).json()["items"][0]["hash"] for seed in range(5)]


def start(person, **wanted):
    return person.api.post("/jobs/acme", wanted, format="json")


@pytest.fixture
def started(django_capture_on_commit_callbacks, in_process):
    """Starts a job and lets it be done, as a commit would; answers what it has become."""

    def run(person, **wanted):
        with django_capture_on_commit_callbacks(execute=True):
            response = start(person, **wanted)
        assert response.status_code == 202, response.json()
        assert response.headers["Location"] == f"/jobs/acme/{response.json()['id']}"
        return person.api.get(response.headers["Location"]).json()

    return run


def test_everything_is_copied(five, alice, stage, started):
    job = started(alice, kind="copy_all", destination="stage")
    assert (job["state"], job["total"], job["processed"], job["failed"]) == ("succeeded", 5, 5, 0)
    assert job["counts"] == {"created": 5}
    assert {image.hash for image in stage.images.active()} == set(five)
    again = started(alice, kind="copy_all", destination="stage")
    assert again["counts"] == {"skipped_existing": 5}
    over = started(alice, kind="copy_all", destination="stage", overwrite=True)
    assert over["counts"] == {"overwritten": 5}


def test_everything_is_deleted_but_what_is_locked_and_comes_back(acme, five, alice, started):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    job = started(alice, kind="delete_all")
    assert (job["state"], job["processed"], job["skipped"]) == ("succeeded_with_errors", 5, 1)
    assert job["counts"] == {"deleted": 4, "locked": 1}
    assert [image.hash for image in acme.images.active()] == five[:1]
    assert Tombstone.objects.get().reason == "delete_all"
    alice.upload(acme, images.png(seed=1))
    back = started(alice, kind="restore_deletion", deletion_id=job["params"]["deletion_id"])
    assert (back["state"], back["counts"]) == ("succeeded", {"restored": 3, "skipped_existing": 1})
    assert acme.images.active().count() == 5
    assert acme.images.in_trash().count() == 1


def test_the_latest_act_is_undone_unless_one_is_named(acme, five, alice, started):
    alice.api.delete(f"/sourceimages/acme/{five[0]}")
    started(alice, kind="delete_all")
    assert started(alice, kind="restore_deletion")["counts"] == {"restored": 4}
    assert [image.hash for image in acme.images.in_trash()] == five[:1]


def test_one_event_says_what_was_done_and_is_found_through_job_and_tombstone(five, alice, started):
    job = started(alice, kind="delete_all")
    event = AuditEvent.objects.get(action="job.succeeded")
    assert (event.count, str(event.job_id)) == (5, job["id"])
    assert str(event.tombstone_id) == job["params"]["deletion_id"]
    assert (event.user, event.source) == (alice.user, "api")
    assert event.details["counts"] == {"deleted": 5}


def test_batches_go_on_where_the_last_one_ended(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    left = []
    while jobs.run_one_batch(job.pk).unfinished:
        left.append(acme.images.active().count())
    assert left == [3, 1, 0]


def test_what_comes_later_is_left_alone(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    later = alice.upload(acme, images.png(seed=99)).json()["items"][0]["hash"]
    jobs.run(job.pk)
    assert [image.hash for image in acme.images.active()] == [later]


def test_a_job_is_stopped_at_the_next_batch(acme, five, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    job = jobs.start_delete_all(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    stopped = alice.api.delete(f"/jobs/acme/{job.pk}").json()
    assert stopped["state"] == "cancelled"
    assert jobs.run(job.pk).state == "cancelled"
    assert acme.images.active().count() == 3
    assert alice.api.delete(f"/jobs/acme/{job.pk}").json()["state"] == "cancelled"


def test_everything_is_deleted_or_restored_by_one_job_at_a_time(acme, five, alice):
    jobs.start_delete_all(acme, actor=COMMAND)
    for kind in ("delete_all", "restore_deletion"):
        response = start(alice, kind=kind)
        assert (response.status_code, response.json()["error"]["reason"]) == (409, "job_in_progress")
    assert Job.objects.count() == 1
    assert Tombstone.objects.count() == 1


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 400),
        ({"kind": "make-coffee"}, 400),
        ({"kind": "copy_all"}, 400),
        ({"kind": "copy_all", "destination": "acme"}, 400),
        ({"kind": "copy_all", "destination": "nobody"}, 400),
        ({"kind": "copy_all", "destination": "other"}, 403),
        ({"kind": "copy_all", "destination": "stage", "overwrite": "perhaps"}, 400),
        ({"kind": "restore_deletion"}, 404),
        ({"kind": "restore_deletion", "deletion_id": str(uuid4())}, 404),
        ({"kind": "restore_deletion", "deletion_id": "x"}, 404),
    ],
)
def test_a_job_that_cannot_be_is_not_started(acme, alice, stage, charlie, wanted, status):
    assert start(alice, **wanted).status_code == status
    assert not Job.objects.exists()


@pytest.fixture
def again(django_capture_on_commit_callbacks, in_process):
    """Runs a job again for what it skipped, as a commit would."""

    def run(person, job):
        with django_capture_on_commit_callbacks(execute=True):
            return person.api.post(f"/jobs/acme/{job['id']}/retry")

    return run


def test_what_was_skipped_is_run_again_by_a_job_of_its_own(acme, five, alice, started, again):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    first = started(alice, kind="delete_all")
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", False, format="json")
    response = again(alice, first)
    assert response.status_code == 202
    second = alice.api.get(response.headers["Location"]).json()
    assert (second["kind"], second["state"], second["total"]) == ("delete_all", "succeeded", 1)
    assert (second["counts"], second["params"]["retry_of"]) == ({"deleted": 1}, first["id"])
    assert alice.api.get(f"/jobs/acme/{first['id']}").json() == first
    refused = again(alice, second)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "nothing_to_retry")


def test_running_again_takes_what_starting_takes(acme, five, alice, stage, member, started, again):
    alice.api.put(f"/sourceimages/acme/{five[0]}/options/locked", True, format="json")
    job = started(alice, kind="delete_all")
    assert again(member("write"), job).status_code == 403
    copied = jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk)
    Job.objects.filter(pk=copied.pk).update(skipped=1)
    bob = member("write", email="other@example.org")
    assert again(bob, {"id": copied.pk}).status_code == 403  # Bob is no member of stage
    assert again(alice, {"id": uuid4()}).json()["error"]["reason"] == "job_not_found"
    assert Job.objects.count() == 2


@pytest.mark.parametrize("role", Role)
def test_long_work_needs_what_the_single_act_needs(acme, alice, stage, member, role):
    bob = member(role)
    set_roles(stage, bob.user.pk, ["write"], comment=None, actor=COMMAND)
    reads = {Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ, Role.IMAGES_WRITE, Role.IMAGES_READ}
    writes = {Role.ADMIN, Role.WRITE, Role.IMAGES_WRITE}
    assert start(bob, kind="copy_all", destination="stage").status_code == (202 if role in reads else 403)
    assert start(bob, kind="restore_deletion").status_code == (404 if role in writes else 403)
    assert start(bob, kind="delete_all").status_code == (202 if role is Role.ADMIN else 403)
    running = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    assert bob.api.delete(f"/jobs/acme/{running.pk}").status_code == (200 if role in reads else 403)


def test_jobs_of_others_are_out_of_reach(acme, five, alice, charlie):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    assert charlie.api.get(f"/jobs/other/{job.pk}").status_code == 404
    assert charlie.api.delete(f"/jobs/other/{job.pk}").status_code == 404
    assert charlie.api.get(f"/jobs/acme/{job.pk}").status_code == 403
    for nothing in ("x", str(uuid4())):
        assert alice.api.get(f"/jobs/acme/{nothing}").json()["error"]["reason"] == "job_not_found"


def test_jobs_are_listed_newest_first_and_page_by_page(acme, stage, alice, monkeypatch):
    made = []
    for number in range(5):
        with time_machine.travel(f"2026-01-0{number + 1}T00:00:00Z", tick=False):
            made.append(str(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk))
    monkeypatch.setattr("sourceimages.api.jobs.PAGE_SIZE", 2)
    seen, query = [], ""
    for _ in range(5):
        body = alice.api.get(f"/jobs/acme?{query}").json()
        seen += [one["id"] for one in body["items"]]
        if "cursor" not in body:
            break
        query = f"cursor={body['cursor']}"
    assert seen == made[::-1]
    assert alice.api.get("/jobs/acme?cursor=x").status_code == 400


def test_a_job_that_nobody_works_at_is_taken_up_again(acme, five, in_process, django_capture_on_commit_callbacks):
    with time_machine.travel(timezone.now() - timedelta(minutes=1)):
        job = jobs.start_delete_all(acme, actor=COMMAND)
        assert jobs.stalled(seconds=tasks.STALE_SECONDS) == []
        assert jobs.run_one_batch(job.pk).unfinished
    with django_capture_on_commit_callbacks(execute=True):
        tasks.resume_jobs()
    job.refresh_from_db()
    assert job.state == "succeeded"


def test_a_job_whose_destination_is_gone_fails_with_a_reason(acme, five, stage):
    job = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"destination": "gone"})
    failed = jobs.run(job.pk)
    assert failed.state == "failed"
    assert "gone" in failed.error


def test_what_operators_began_is_stopped_by_admins_only(acme, alice, member, five):
    job = jobs.start_reindex(acme, actor=COMMAND)
    assert member("sourceimages:write").api.delete(f"/jobs/acme/{job.pk}").status_code == 403
    assert alice.api.delete(f"/jobs/acme/{job.pk}").status_code < 300
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
