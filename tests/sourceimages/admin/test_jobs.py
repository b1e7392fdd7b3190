"""Jobs in the back-office: how far they are, what was left, and who may stop them or let them go on."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, tasks
from sourceimages.admin.jobs import eta, percent, rate
from sourceimages.operations import set_locked
from tests.sourceimages.admin.conftest import JOBS, choose, confirm, everything, fresh, page_of, press, text_of, told

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]


@pytest.fixture(autouse=True)
def nobody_works(monkeypatch):
    monkeypatch.setattr(tasks, "enqueue_job", lambda job_id: None)


def made(acme, kind, state="queued", **fields):
    return Job.objects.create(organization=acme, kind=kind, state=state, source="api", **fields)


def test_a_job_says_how_far_it_is(staff, acme, three, alice):
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
        text = text_of(staff.get(page))
        for words in ('<progress value="66"', "2 of 3", "The disk is &lt;b&gt;full.", "alice@example.org (api)"):
            assert words in text
        assert "<b>" not in text
    text = text_of(staff.get(page_of(job)))
    for words in ("2 images per second", "0:00:00 remaining", "1 failed", "It is &lt;b&gt;locked.", three[0].hash):
        assert words in text


def test_speed_and_time():
    now = timezone.now()
    job = Job(state="running", total=100, processed=20, started=now - timedelta(seconds=10), heartbeat=now)
    assert (percent(job), rate(job), eta(job)) == (20, 2.0, "0:00:40")
    job.state, job.finished = "succeeded", now
    assert (rate(job), eta(job)) == (2.0, "")
    assert (percent(Job(state="queued", total=0)), percent(Job(state="succeeded", total=0))) == (0, 100)
    assert (rate(Job(state="queued")), eta(Job(state="queued", total=5))) == (None, "")
    assert percent(Job(state="running", total=2, processed=5)) == 100


def test_jobs_are_stopped(staff, ines, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    before = everything()
    question = choose(staff, JOBS, "cancel", [job])
    assert "delete_all of acme, 0 of 3 images" in text_of(question)
    assert everything() == before
    assert told(confirm(staff, question)) == ["1 job cancelled."]
    assert fresh(job).state == "cancelled"
    event = AuditEvent.objects.get(action="job.cancelled")
    assert (event.source, event.user) == ("staff", ines)
    assert acme.images.active().count() == 3


def test_a_job_is_stopped_and_tried_again_on_its_page(staff, ines, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    assert told(confirm(staff, press(staff, job, "cancel"))) == ["1 job cancelled."]
    assert "_stop" not in text_of(staff.get(page_of(job)))
    assert told(confirm(staff, press(staff, job, "resume"))) == ["1 job resumed."]
    assert AuditEvent.objects.get(action="job.resumed").user == ines
    assert fresh(job).state == "queued"
    assert jobs.run(job.pk).counts == {"deleted": 3}


def test_a_job_that_failed_is_tried_again(staff, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    Job.objects.filter(pk=job.pk).update(state="failed", error="No.")
    confirm(staff, press(staff, job, "resume"))
    assert (fresh(job).state, fresh(job).error) == ("queued", "")


def test_what_failed_is_run_again_from_its_page(staff, ines, acme, three, alice):
    set_locked(three[0], True, actor=alice.actor)
    job = jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    for page in (JOBS, page_of(job), "/admin/"):
        assert "completed with errors" in text_of(staff.get(page)).lower()
    assert "1 skipped" in text_of(staff.get(page_of(job)))
    set_locked(three[0], False, actor=alice.actor)
    (said,) = told(confirm(staff, press(staff, job, "retry")))
    again = Job.objects.exclude(pk=job.pk).get()
    assert said.startswith("Started for 1 images.")
    assert page_of(again) in said
    assert (again.user, again.source, again.total) == (ines, "staff", 1)
    assert jobs.run(again.pk).counts == {"deleted": 1}
    assert "_retry" not in text_of(staff.get(page_of(again)))


def test_there_is_nothing_to_run_again_of_a_job_that_went_well(staff, acme, three):
    job = jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    before = everything()
    assert "_retry" not in text_of(staff.get(page_of(job)))
    assert told(confirm(staff, choose(staff, JOBS, "retry", [job]))) == [
        "There is no image that the job skipped or failed with."
    ]
    assert everything() == before


def test_more_failures_than_are_named_are_counted(staff, acme):
    job = made(acme, "delete", "succeeded_with_errors", total=300, processed=300, skipped=150)
    Job.objects.filter(pk=job.pk).update(errors=[{"hash": "a" * 40, "message": "Image is locked."}] * 100)
    assert "and 50 more" in text_of(staff.get(page_of(job)))


@pytest.mark.parametrize("kind", ["copy", "copy_all"])
def test_a_copy_goes_on_for_those_who_may_write_at_its_destination(acme, stage, colleague, stage_writer, kind):
    arguments = {"destination": "stage", "selection": {"in_trash": False, "search": ""}}
    job, stranger = made(acme, kind, "failed", params=arguments), colleague(Role.WRITE)
    Job.objects.filter(pk=job.pk).update(failed=1)
    for button in ('_resume"', '_retry"'):
        assert button not in text_of(stranger.get(page_of(job)))
        assert button in text_of(stage_writer.get(page_of(job)))


def test_what_is_over_can_be_neither_stopped_nor_tried_again(staff, acme, three):
    job = jobs.start_delete_all(acme, actor=COMMAND)
    stop = choose(staff, JOBS, "cancel", [job])
    jobs.run(job.pk)
    before = everything()
    assert told(confirm(staff, stop)) == ["The job delete_all of acme has finished: succeeded."]
    messages = told(confirm(staff, choose(staff, JOBS, "resume", [job])))
    assert messages == ["The job delete_all of acme is succeeded and can't be resumed."]
    page = text_of(staff.get(page_of(job)))
    assert "_stop" not in page
    assert "_resume" not in page
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_each_kind_takes_its_permission(colleague, acme, role):
    browser, grants = colleague(role), granted([role])
    for kind, needed in ((kind, known.permission) for kind, known in jobs.KINDS.items()):
        for state, action in (("queued", "cancel"), ("failed", "resume")):
            job = made(acme, kind, state, params={"selection": {"in_trash": False, "search": ""}})
            page = browser.get(page_of(job))
            reads, may = Permission.IMAGES_READ in grants, needed in grants
            assert page.status_code == (200 if reads else 404)
            if reads:
                assert (f'name="_{action}"' in text_of(page)) == may
            if not (reads and may):
                before = everything()
                fields = {f"_{action}": "yes", "confirmed": "yes", "_selected_action": job.pk}
                browser.post(page_of(job), fields)
                choose(browser, JOBS, action, [job], confirmed="yes")
                assert everything() == before
            Job.objects.all().delete()


def test_more_take_no_more_queries(staff, acme, alice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(JOBS).status_code == 200
        return len(captured)

    made(acme, "copy_all", "succeeded", user=alice.user)
    queries()
    few = queries()
    for _ in range(20):
        made(acme, "copy_all", "succeeded", user=alice.user)
    assert queries() == few
