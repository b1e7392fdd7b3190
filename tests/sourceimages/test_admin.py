"""Staff lock, delete and restore pictures, undo acts of deleting and stop jobs, by the same operations as the API."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job, User
from organizations.operations import create_staff
from sourceimages import jobs
from sourceimages.admin.pictures import SourceImageAdmin
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import delete_image, set_locked
from tests import images

PICTURES = "/admin/sourceimages/sourceimage/"
TRASH = PICTURES + "?state=trash"
TOMBSTONES = "/admin/sourceimages/tombstone/"
JOBS = "/admin/organizations/job/"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


pytestmark = pytest.mark.usefixtures("consistent")  # after each test


@pytest.fixture
def ines(db):
    return create_staff("ines", "a long password", email="ines@example.org", actor=COMMAND)


@pytest.fixture
def staff(ines, client):
    client.force_login(ines)
    return client


@pytest.fixture
def three(acme, alice):
    """Three pictures of acme."""
    for seed in range(3):
        alice.upload(acme, images.png(seed=seed), name=f"{seed}.png")
    return list(acme.images.order_by("id"))


@pytest.fixture
def in_trash(three, alice):
    for image in three:
        delete_image(image, actor=alice.actor)
    return [fresh(image) for image in three]


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def page_of(row):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def choose(staff, page, action, rows, **fields):
    """Choose the action for these rows of a list."""
    return staff.post(page, {"action": action, "_selected_action": [row.pk for row in rows], "index": 0, **fields})


def press(staff, row, action):
    """Press the button on the page of the row."""
    page = page_of(row)
    assert f'name="_{action}"' in staff.get(page).content.decode()
    return staff.post(page, {f"_{action}": "yes"})


def confirm(staff, question):
    """Press the button of the page that asks back; answers what is told then."""
    assert question.status_code == 200
    fields: dict[str, list[str]] = {"confirmed": ["yes"]}
    for name, value in HIDDEN.findall(question.content.decode()):
        fields.setdefault(name, []).append(value)
    answer = staff.post(question.wsgi_request.get_full_path(), fields, follow=True)
    assert answer.redirect_chain == [(question.wsgi_request.get_full_path(), 302)]
    return told(answer)


def told(answer):
    return [str(message) for message in answer.context["messages"]]


def everything():
    return [list(model.objects.order_by("pk").values()) for model in (SourceImage, Tombstone, Job, AuditEvent)]


# --- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "done"), [("lock", "locked"), ("unlock", "unlocked"), ("delete", "moved to the trash")]
)
def test_nothing_happens_before_somebody_confirms(staff, three, action, done):
    before = everything()
    page = choose(staff, PICTURES, action, three[:2]).content.decode()
    assert "2 source images" in page
    assert str(three[0]) in page
    assert str(three[2]) not in page
    assert everything() == before


def test_pictures_are_locked_and_unlocked(staff, three):
    assert confirm(staff, choose(staff, PICTURES, "lock", three[:2])) == ["2 source images locked."]
    assert [fresh(image).locked for image in three] == [True, True, False]
    assert confirm(staff, choose(staff, PICTURES, "unlock", three[:1])) == ["1 source image unlocked."]
    assert [fresh(image).locked for image in three] == [False, True, False]


def test_pictures_are_deleted_each_by_itself(staff, three):
    assert confirm(staff, choose(staff, PICTURES, "delete", three)) == ["3 source images moved to the trash."]
    assert {fresh(image).tombstone.reason for image in three} == {"staff"}
    assert Tombstone.objects.count() == 3


def test_what_is_locked_is_told_and_the_others_are_deleted(staff, three, alice):
    set_locked(three[1], True, actor=alice.actor)
    question = choose(staff, PICTURES, "delete", three)
    assert f"{three[1]} of acme, locked" in question.content.decode()
    assert confirm(staff, question) == [
        f"Source image {three[1].short_hash} is locked: it can be neither deleted nor changed.",
        "2 source images moved to the trash.",
    ]
    assert [fresh(image).deleted for image in three] == [True, False, True]


def test_pictures_are_restored(staff, in_trash):
    assert confirm(staff, choose(staff, TRASH, "restore", in_trash[:2])) == ["2 source images restored."]
    assert [fresh(image).deleted for image in in_trash] == [False, False, True]


def test_one_picture_is_locked_unlocked_deleted_and_restored_on_its_page(staff, image):
    before = everything()
    question = press(staff, image, "lock")
    assert everything() == before
    assert confirm(staff, question) == ["1 source image locked."]
    assert fresh(image).locked
    assert confirm(staff, press(staff, image, "unlock")) == ["1 source image unlocked."]
    assert not fresh(image).locked
    assert confirm(staff, press(staff, image, "delete")) == ["1 source image moved to the trash."]
    assert fresh(image).deleted
    assert confirm(staff, press(staff, image, "restore")) == ["1 source image restored."]
    assert not fresh(image).deleted


def test_a_page_offers_what_makes_sense(staff, image, alice):
    def offered():
        return re.findall(r'name="_(\w+)"', staff.get(page_of(image)).content.decode())

    assert offered() == ["lock", "delete"]
    set_locked(image, True, actor=alice.actor)
    assert offered() == ["unlock"]
    set_locked(image, False, actor=alice.actor)
    delete_image(image, actor=alice.actor)
    assert offered() == ["restore"]


def test_what_is_locked_meanwhile_stays(staff, image, alice):
    question = press(staff, image, "delete")
    set_locked(image, True, actor=alice.actor)
    before = everything()
    assert confirm(staff, question) == [
        f"Source image {image.short_hash} is locked: it can be neither deleted nor changed."
    ]
    assert everything() == before


def test_what_is_deleted_meanwhile_is_told(staff, three, alice):
    in_list, on_page = choose(staff, PICTURES, "lock", three[:2]), press(staff, three[0], "lock")
    delete_image(three[0], actor=alice.actor)
    assert confirm(staff, in_list) == ["No longer here: 1 source image.", "1 source image locked."]
    assert confirm(staff, on_page) == [f"There is no picture {three[0].hash!r} any more."]


def test_of_two_that_are_alike_the_later_comes_back_and_this_is_told(staff, acme, alice, image):
    delete_image(image, actor=alice.actor)
    alice.upload(acme, images.png(), name="later.png")
    later = acme.images.living().get()
    delete_image(later, actor=alice.actor)
    assert confirm(staff, press(staff, image, "restore")) == [
        f"Another source image {image.short_hash} lives now: this one stays in the trash."
    ]
    assert acme.images.living().get() == later


def test_the_trail_says_who_it_was(staff, ines, image):
    confirm(staff, press(staff, image, "delete"))
    event = AuditEvent.objects.get(verb="image.deleted")
    assert (event.source, event.user, event.address) == ("staff", ines, "127.0.0.1")
    assert event.request_id
    assert Tombstone.objects.get().deleted_by == ines


def test_too_many_at_a_time_are_refused(staff, three, monkeypatch):
    monkeypatch.setattr(SourceImageAdmin, "most", 2)
    before = everything()
    choose(staff, PICTURES, "delete", three, confirmed="yes")
    choose(staff, PICTURES, "delete", three[:1], select_across="1", confirmed="yes")
    messages = told(staff.get(PICTURES))
    assert len(messages) == 2
    assert all(message.startswith("No more than 2 source images at a time. ") for message in messages)
    assert everything() == before


def test_all_pages_of_a_list_are_listed_before_they_are_confirmed(staff, three, monkeypatch):
    monkeypatch.setattr(SourceImageAdmin, "list_per_page", 1)
    question = choose(staff, PICTURES, "lock", three[:1], select_across="1")
    assert confirm(staff, question) == ["3 source images locked."]


def test_names_are_shown_as_they_are(staff, acme, alice):
    alice.upload(acme, images.png(), name="<b>bold.png")
    page = choose(staff, PICTURES, "lock", acme.images.all()).content.decode()
    assert "&lt;b&gt;bold.png" in page
    assert "<b>bold" not in page


# --- The trash --------------------------------------------------------------------------------------------------------


def listed(page):
    return set(page.context["cl"].result_list)


def test_the_list_shows_the_living_or_the_trash(staff, three, alice):
    delete_image(three[0], actor=alice.actor)
    assert listed(staff.get(PICTURES)) == set(three[1:])
    assert listed(staff.get(TRASH)) == {three[0]}


def test_the_trash_says_when_and_how_long(client, ines, image, alice):
    def days_left():
        client.force_login(ines)  # sessions are shorter than the trash is kept
        page = client.get(TRASH).content.decode()
        return re.findall(r'field-deleted_at nowrap">([^<]+)</td><td class="field-days_left">(\d+)<', page)

    with time_machine.travel("2031-05-01 15:30Z", tick=False) as now:
        delete_image(image, actor=alice.actor)
        assert days_left() == [("May 1, 2031, 3:30 p.m.", "30")]
        now.shift(timedelta(days=29, hours=1))
        assert days_left() == [("May 1, 2031, 3:30 p.m.", "1")]
        now.shift(timedelta(days=1))
        assert days_left() == []


def test_what_cannot_be_done_there_is_not_offered(staff, three, alice):
    def offered(page):
        return {name for name, _ in staff.get(page).context["action_form"].fields["action"].choices if name}

    delete_image(three[0], actor=alice.actor)
    assert offered(PICTURES) == {"lock", "unlock", "delete"}
    assert offered(TRASH) == {"restore"}


def test_a_tombstone_leads_to_its_pictures(staff, in_trash):
    tombstone = in_trash[0].tombstone
    link = re.search(r'field-pictures"><a href="([^"]+)">1</a>', staff.get(TOMBSTONES).content.decode())[1]
    assert link.startswith(TRASH)
    page = staff.get(f"{TRASH}&tombstone__id__exact={tombstone.pk}")
    assert listed(page) == {in_trash[0]}


def test_counting_pictures_of_a_tombstone_ends_early(staff, acme, three, monkeypatch):
    monkeypatch.setattr("sourceimages.admin.trash.COUNTED", 2)
    jobs.run(jobs.delete_all(acme, actor=COMMAND).pk)
    assert ">more than 2</a>" in staff.get(TOMBSTONES).content.decode()


# --- Undoing an act of deleting ---------------------------------------------------------------------------------------


@pytest.fixture
def tombstone(acme, three):
    """Everything in acme is deleted."""
    jobs.run(jobs.delete_all(acme, actor=COMMAND).pk)
    return Tombstone.objects.get()


def test_an_act_of_deleting_is_undone(
    staff, ines, acme, three, tombstone, in_process, django_capture_on_commit_callbacks
):
    before = everything()
    question = choose(staff, TOMBSTONES, "restore", [tombstone])
    assert "3 pictures of acme" in question.content.decode()
    assert everything() == before
    with django_capture_on_commit_callbacks(execute=True):
        (message,) = confirm(staff, question)
    job = Job.objects.get(kind="restore")
    assert page_of(job) in message
    assert (job.state, job.report, job.user, job.source) == ("done", {"restored": 3}, ines, "staff")
    assert set(acme.images.living()) == set(three)
    assert AuditEvent.objects.get(verb="job.started", job_id=job.pk).user == ines


def test_it_is_undone_from_its_page(staff, tombstone):
    confirm(staff, press(staff, tombstone, "restore"))
    assert Job.objects.get(kind="restore").arguments == {"tombstone": str(tombstone.pk)}


def test_two_such_jobs_at_a_time_are_refused(staff, acme, tombstone, alice):
    alice.upload(acme, images.png(seed=9))
    other = delete_image(acme.images.living().get(), actor=alice.actor)
    messages = confirm(staff, choose(staff, TOMBSTONES, "restore", [tombstone, other]))
    assert sum("is being deleted or restored already" in message for message in messages) == 1
    assert Job.objects.filter(kind="restore").count() == 1


def test_what_has_expired_is_not_offered_and_refused(staff, tombstone):
    question = choose(staff, TOMBSTONES, "restore", [tombstone])
    Tombstone.objects.update(expires_at=timezone.now())
    before = everything()
    assert "_restore" not in staff.get(page_of(tombstone)).content.decode()
    assert confirm(staff, question) == ["There is no such act of deleting that can still be undone."]
    assert everything() == before


# --- Jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_says_how_far_it_is(staff, acme, three, alice):
    job = jobs.delete_all(acme, actor=alice.actor)
    Job.objects.filter(pk=job.pk).update(done=2, report={"deleted": 1, "locked": 1}, error="The disk is full.")
    for page in (JOBS, page_of(job)):
        text = staff.get(page).content.decode()
        assert '<progress value="66" max="100" aria-label="progress"></progress> 66&nbsp;%, 2 of 3' in text
        assert "1 deleted, 1 locked. The disk is full." in text
        assert "alice@example.org (api)" in text


def test_jobs_are_stopped(staff, ines, acme, three):
    job = jobs.delete_all(acme, actor=COMMAND)
    before = everything()
    question = choose(staff, JOBS, "stop", [job])
    assert "delete-all of acme, 0 of 3 pictures" in question.content.decode()
    assert everything() == before
    assert confirm(staff, question) == ["1 job stopped."]
    assert fresh(job).state == "cancelled"
    event = AuditEvent.objects.get(verb="job.stopped")
    assert (event.source, event.user) == ("staff", ines)
    assert acme.images.living().count() == 3


def test_a_job_is_stopped_on_its_page(staff, acme, three):
    job = jobs.delete_all(acme, actor=COMMAND)
    assert confirm(staff, press(staff, job, "stop")) == ["1 job stopped."]
    assert "_stop" not in staff.get(page_of(job)).content.decode()


def test_what_is_over_cannot_be_stopped(staff, acme, three):
    job = jobs.delete_all(acme, actor=COMMAND)
    question = choose(staff, JOBS, "stop", [job])
    jobs.run(job.pk)
    before = everything()
    assert confirm(staff, question) == ["The job delete-all of acme is over: done."]
    assert everything() == before


# --- Who, and how -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"is_staff": True, "is_active": False}])
def test_others_get_nowhere(client, alice, acme, tombstone, fields):
    User.objects.filter(pk=alice.user.pk).update(**fields)
    client.force_login(alice.user)
    job, image = Job.objects.get(), acme.images.first()
    before = everything()
    for page, row, action in ((TRASH, image, "restore"), (TOMBSTONES, tombstone, "restore"), (JOBS, job, "stop")):
        assert choose(client, page, action, [row], confirmed="yes").headers["Location"].startswith("/admin/login/")
        answer = client.post(page_of(row), {f"_{action}": "yes", "confirmed": "yes"})
        assert answer.headers["Location"].startswith("/admin/login/")
    assert everything() == before


def test_a_post_from_elsewhere_is_refused(ines, image):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ines)
    before = everything()
    assert choose(strict, PICTURES, "delete", [image], confirmed="yes").status_code == 403
    assert strict.post(page_of(image), {"_delete": "yes", "confirmed": "yes"}).status_code == 403
    assert everything() == before


def test_get_changes_nothing(staff, image):
    before = everything()
    staff.get(PICTURES, {"action": "delete", "_selected_action": image.pk, "index": 0, "confirmed": "yes"})
    assert staff.get(page_of(image), {"_delete": "yes", "confirmed": "yes"}).status_code == 200
    assert everything() == before


def test_lists_and_questions_ask_no_more_for_more_rows(staff, acme, alice):
    def queries():
        counts = []
        for page, action, rows in (
            (PICTURES, "lock", acme.images.living()),
            (TRASH, "restore", acme.images.in_trash()),
            (TOMBSTONES, "restore", acme.tombstones.all()),
            (JOBS, "stop", acme.jobs.all()),
        ):
            with CaptureQueriesContext(connection) as listing:
                assert staff.get(page).status_code == 200
            with CaptureQueriesContext(connection) as asking:
                assert choose(staff, page, action, rows).status_code == 200
            counts += [len(listing), len(asking)]
        return counts

    def more(*seeds):
        for seed in seeds:
            alice.upload(acme, images.png(seed=seed))
        for image in acme.images.living().order_by("id")[: len(seeds) // 2]:
            delete_image(image, actor=alice.actor)
            Job.objects.create(organization=acme, kind="copy-all", state="done", user=alice.user, source="api")

    more(0, 1, 2, 3)
    queries()
    few = queries()
    more(*range(4, 12))
    assert queries() == few
