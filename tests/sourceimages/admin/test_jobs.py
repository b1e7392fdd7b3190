"""Jobs in the admin: their progress and errors, and who can cancel, resume and retry them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, queue
from sourceimages.admin.jobs import eta, percent, rate
from sourceimages.operations import set_locked
from tests.sourceimages.admin.conftest import (
    JOBS,
    choose,
    confirm,
    everything,
    fresh,
    messages_of,
    page_of,
    press,
    text_of,
)

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    monkeypatch.setattr(queue, "enqueue_job", lambda job_id: None)


def create_job(acme, kind, state="queued", **fields):
    return Job.objects.create(organization=acme, kind=kind, state=state, source="api", **fields)


def test_the_progress_of_a_job_is_shown(staff, acme, three, alice):
    job = jobs.start_delete_all(acme, actor=alice.actor)
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(
        state="running",
        frozen=False,
        processed=2,
        failed=1,
        counts={"deleted": 1, "locked": 1},
        error="The disk is <b>full.",
        errors=[{"hash": three[0].hash, "message": "It is <b>locked."}],
        started=now - timedelta(seconds=1),
        heartbeat=now,
    )
    for page in (JOBS, page_of(job)):
        page_text = text_of(staff.get(page))
        for text in ('<progress value="66"', "2 of 3", "The disk is &lt;b&gt;full.", "alice@example.org (api)"):
            assert text in page_text
        assert "<b>" not in page_text
    page_text = text_of(staff.get(page_of(job)))
    for text in ("2 images per second", "0:00:00 remaining", "1 failed", "It is &lt;b&gt;locked.", three[0].hash):
        assert text in page_text


def test_percent_rate_and_eta():
    now = timezone.now()
    job = Job(state="running", total=100, processed=20, started=now - timedelta(seconds=10), heartbeat=now)
    assert (percent(job), rate(job), eta(job)) == (20, 2.0, "0:00:40")
    job.state, job.finished = "succeeded", now
    assert (rate(job), eta(job)) == (2.0, "")
    assert (percent(Job(state="queued", total=0)), percent(Job(state="succeeded", total=0))) == (0, 100)
    assert (rate(Job(state="queued")), eta(Job(state="queued", total=5))) == (None, "")
    assert percent(Job(state="running", total=2, processed=5)) == 100


def test_jobs_are_cancelled_in_the_list(staff, ines, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    before = everything()
    confirmation = choose(staff, JOBS, "cancel", [job])
    assert "Delete all images: acme, 0 of 3 images" in text_of(confirmation)
    assert everything() == before
    assert messages_of(confirm(staff, confirmation)) == ["1 job cancelled."]
    assert fresh(job).state == "cancelled"
    event = AuditEvent.objects.get(action="job.cancelled")
    assert (event.source, event.user) == ("staff", ines)
    assert acme.images.active().count() == 3


def test_a_job_is_cancelled_and_resumed_on_its_page(staff, ines, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    assert messages_of(confirm(staff, press(staff, job, "cancel"))) == ["1 job cancelled."]
    assert "_cancel" not in text_of(staff.get(page_of(job)))
    assert messages_of(confirm(staff, press(staff, job, "resume"))) == ["1 job resumed."]
    assert AuditEvent.objects.get(action="job.resumed").user == ines
    assert fresh(job).state == "queued"
    assert jobs.run(job.pk).counts == {"deleted": 3}


def test_a_failed_job_is_resumed(staff, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    Job.objects.filter(pk=job.pk).update(state="failed", error="No.")
    confirm(staff, press(staff, job, "resume"))
    assert (fresh(job).state, fresh(job).error) == ("queued", "")


def test_skipped_images_are_retried_on_the_page_of_the_job(staff, ines, acme, three, alice):
    set_locked(three[0], True, actor=alice.actor)
    job = jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    for page in (JOBS, page_of(job), "/admin/"):
        assert "completed with errors" in text_of(staff.get(page)).lower()
    assert "1 skipped" in text_of(staff.get(page_of(job)))
    set_locked(three[0], False, actor=alice.actor)
    (message,) = messages_of(confirm(staff, press(staff, job, "retry")))
    retry = Job.objects.exclude(pk=job.pk).get()
    assert message.startswith("Retry started for 1 image.")
    assert page_of(retry) in message
    assert (retry.user, retry.source, retry.total) == (ines, "staff", 1)
    assert jobs.run(retry.pk).counts == {"deleted": 1}
    assert "_retry" not in text_of(staff.get(page_of(retry)))


def test_a_job_without_skipped_images_is_not_retried(staff, acme, three):
    job = jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    before = everything()
    assert "_retry" not in text_of(staff.get(page_of(job)))
    assert messages_of(confirm(staff, choose(staff, JOBS, "retry", [job]))) == [
        "The job has no skipped or failed images to retry."
    ]
    assert everything() == before


def test_errors_that_are_not_listed_are_counted(staff, acme):
    job = create_job(acme, "delete", "succeeded_with_errors", total=300, processed=300, skipped=150)
    Job.objects.filter(pk=job.pk).update(errors=[{"hash": "a" * 40, "message": "Image is locked."}] * 100)
    assert "and 50 more" in text_of(staff.get(page_of(job)))


@pytest.mark.parametrize("kind", ["copy", "copy_all"])
def test_resuming_a_copy_requires_permission_at_its_destination(acme, stage, colleague, stage_writer, kind):
    params = {"destination": "stage", "selection": {"in_trash": False, "search": ""}}
    job, other = create_job(acme, kind, "failed", params=params), colleague(Role.WRITE)
    Job.objects.filter(pk=job.pk).update(failed=1)
    for button in ('_resume"', '_retry"'):
        assert button not in text_of(other.get(page_of(job)))
        assert button in text_of(stage_writer.get(page_of(job)))


def test_a_finished_job_is_neither_cancelled_nor_resumed(staff, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    confirmation = choose(staff, JOBS, "cancel", [job])
    jobs.run(job.pk)
    before = everything()
    assert messages_of(confirm(staff, confirmation)) == ['The job "Delete all images: acme" has finished: succeeded.']
    messages = messages_of(confirm(staff, choose(staff, JOBS, "resume", [job])))
    assert messages == ['The job "Delete all images: acme" is succeeded and can\'t be resumed.']
    page = text_of(staff.get(page_of(job)))
    assert "_cancel" not in page
    assert "_resume" not in page
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_each_kind_requires_its_permission(colleague, acme, role):
    browser, grants = colleague(role), granted([role])
    for kind, permission in ((name, kind.permission) for name, kind in jobs.KINDS.items()):
        for state, action in (("queued", "cancel"), ("failed", "resume")):
            job = create_job(acme, kind, state, params={"selection": {"in_trash": False, "search": ""}})
            page = browser.get(page_of(job))
            reads, allowed = Permission.IMAGES_READ in grants, permission in grants
            assert page.status_code == (200 if reads else 404)
            if reads:
                assert (f'name="_{action}"' in text_of(page)) == allowed
            if not (reads and allowed):
                before = everything()
                fields = {f"_{action}": "yes", "confirmed": "yes", "_selected_action": job.pk}
                browser.post(page_of(job), fields)
                choose(browser, JOBS, action, [job], confirmed="yes")
                assert everything() == before
            Job.objects.all().delete()


def test_more_jobs_take_no_more_queries(staff, acme, alice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(JOBS).status_code == 200
        return len(captured)

    create_job(acme, "copy_all", "succeeded", user=alice.user)
    queries()
    before = queries()
    for _ in range(20):
        create_job(acme, "copy_all", "succeeded", user=alice.user)
    assert queries() == before
