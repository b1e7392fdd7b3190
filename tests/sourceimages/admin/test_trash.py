"""The trash by act of deleting: looked at, undone as a whole or in parts, or removed before its time."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, tasks
from sourceimages.admin import trash
from sourceimages.maintenance import purge
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image, set_protected
from tests.sourceimages.admin.conftest import (
    ACT,
    TOMBSTONES,
    choose,
    chosen,
    confirm,
    everything,
    fresh,
    page_of,
    press,
    text_of,
    told,
    uploaded,
)
from tests.support import images
from tests.support.storage import let_pass

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]


@pytest.fixture
def tombstone(acme, three):
    """Everything in acme is deleted."""
    jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    return Tombstone.objects.get()


def test_an_act_of_deleting_is_undone(staff, ines, acme, three, tombstone):
    before = everything()
    question = choose(staff, TOMBSTONES, "restore", [tombstone])
    assert "3 images of acme" in text_of(question)
    assert everything() == before
    (message,) = told(confirm(staff, question))
    job = Job.objects.get(kind="restore_deletion")
    assert page_of(job) in message
    assert (job.state, job.counts, job.user, job.source) == ("succeeded", {"restored": 3}, ines, "staff")
    assert set(acme.images.active()) == set(three)
    assert AuditEvent.objects.get(action="job.started", job_id=job.pk).user == ines


def test_it_is_undone_from_its_page(staff, acme, tombstone):
    before = everything()
    question = press(staff, tombstone, "restore")
    assert everything() == before
    confirm(staff, question)
    assert acme.images.active().count() == 3


def test_a_large_one_is_undone_soon(staff, acme, tombstone, monkeypatch):
    monkeypatch.setattr(tasks, "INLINE_LIMIT", 2)
    monkeypatch.setattr(tasks, "enqueue_job", lambda job_id: None)
    (message,) = told(confirm(staff, press(staff, tombstone, "restore")))
    assert "Restore started" in message
    assert acme.images.active().count() == 0


def test_some_of_it_are_restored(staff, three, tombstone):
    page = staff.get(page_of(tombstone))
    assert 'value="restore"' in text_of(page)
    assert [image.pk for image in page.context["images"]] == [image.pk for image in three]
    sent = chosen(three[:2], "restore", in_trash=True, back=f"trash:{tombstone.pk}")
    answer = confirm(staff, staff.post(ACT, sent))
    assert answer.redirect_chain == [(page_of(tombstone), 302)]
    assert [fresh(image).deleted for image in three] == [False, False, True]
    assert [image.pk for image in answer.context["images"]] == [three[2].pk]


def test_two_such_jobs_at_a_time_are_refused(staff, acme, tombstone, alice, monkeypatch):
    monkeypatch.setattr(tasks, "INLINE_LIMIT", -1)
    monkeypatch.setattr(tasks, "enqueue_job", lambda job_id: None)
    alice.upload(acme, images.png(seed=9))
    other = delete_image(acme.images.active().get(), actor=alice.actor)
    messages = told(confirm(staff, choose(staff, TOMBSTONES, "restore", [tombstone, other])))
    assert sum("is being deleted or restored already" in message for message in messages) == 1
    assert Job.objects.filter(kind="restore_deletion").count() == 1


def test_what_has_expired_is_not_offered_and_refused(staff, tombstone):
    question = choose(staff, TOMBSTONES, "restore", [tombstone])
    Tombstone.objects.update(expires_at=timezone.now())
    before = everything()
    page = text_of(staff.get(page_of(tombstone)))
    assert "_restore" not in page
    assert 'value="restore"' not in page
    assert told(confirm(staff, question)) == ["There is no such act of deleting that can still be undone."]
    assert everything() == before


def test_pages_go_on_by_id(staff, three, tombstone, monkeypatch):
    monkeypatch.setattr(trash, "PER_PAGE", 2)
    first = staff.get(page_of(tombstone))
    assert [image.pk for image in first.context["images"]] == [image.pk for image in three[:2]]
    second = staff.get(page_of(tombstone), {"after": first.context["after"]})
    assert [image.pk for image in second.context["images"]] == [three[2].pk]
    assert second.context["after"] is None
    for after in ("x", "²", "9" * 40, "-1"):
        assert staff.get(page_of(tombstone), {"after": after}).status_code == 200


def test_counting_ends_early(staff, tombstone, monkeypatch):
    monkeypatch.setattr(trash, "COUNT_CAP", 2)
    assert "more than 2" in text_of(staff.get(TOMBSTONES))
    assert "more than 2 still in the trash" in text_of(staff.get(page_of(tombstone)))


def test_protected_pictures_are_not_shown_in_the_list(staff, acme, image, alice):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    delete_image(protected, actor=alice.actor)
    assert f"/{protected.pk}/preview/" not in text_of(staff.get(TOMBSTONES))
    delete_image(image, actor=alice.actor)
    assert f"/{image.pk}/preview/small/" in text_of(staff.get(TOMBSTONES))


def test_it_says_how_long(ines, image, alice, client):
    def left():
        client.force_login(ines)
        return re.findall(r"(\d+ days?) left", text_of(client.get(TOMBSTONES)))

    delete_image(image, actor=alice.actor)
    assert left() == ["30 days"]
    let_pass(timedelta(days=29, hours=1))
    assert left() == ["1 day"]
    let_pass(timedelta(days=1))
    assert left() == []


# --- Before its time --------------------------------------------------------------------------------------------------


def test_a_superuser_who_types_the_name_removes_it(staff, ines, acme, tombstone):
    answer = staff.post(page_of(tombstone), {"expire": "yes", "name": " acme "})
    assert (answer.status_code, answer["Location"]) == (302, TOMBSTONES)
    assert fresh(tombstone).expires_at <= timezone.now()
    event = AuditEvent.objects.get(action="deletion.expired")
    assert (event.user, event.source, event.count, event.tombstone_id) == (ines, "staff", 3, tombstone.pk)
    assert purge.purge_expired() == 3
    assert not acme.images.exists()


@pytest.mark.parametrize("name", ["", "ACME", "other", "acme2"])
def test_another_name_removes_nothing(staff, tombstone, name):
    before = everything()
    answer = staff.post(page_of(tombstone), {"expire": "yes", "name": name})
    assert answer.status_code == 400
    assert "Nothing was deleted" in text_of(answer)
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_nobody_else_removes_it(colleague, tombstone, role):
    browser = colleague(role)
    before = everything()
    answer = browser.post(page_of(tombstone), {"expire": "yes", "name": "acme"})
    assert answer.status_code == (400 if Permission.IMAGES_READ in granted([role]) else 404)
    assert 'value="yes">Delete permanently' not in text_of(answer)
    assert everything() == before


@pytest.mark.parametrize("role", [Role.READ, Role.IMAGES_READ])
def test_readers_restore_nothing(colleague, three, tombstone, role):
    browser = colleague(role)
    assert "_restore" not in text_of(browser.get(page_of(tombstone)))
    before = everything()
    browser.post(page_of(tombstone), {"_restore": "yes", "confirmed": "yes", "_selected_action": tombstone.pk})
    choose(browser, TOMBSTONES, "restore", [tombstone], confirmed="yes")
    assert browser.post(ACT, chosen(three, "restore", in_trash=True, confirmed="yes")).status_code == 403
    assert everything() == before


def test_more_take_no_more_queries(staff, acme, alice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(TOMBSTONES).status_code == 200
            assert staff.get(page_of(Tombstone.objects.first())).status_code == 200
        return len(captured)

    def more(count, first):
        for image in uploaded(alice, acme, count, first=first):
            delete_image(image, actor=alice.actor)

    more(3, 0)
    queries()
    few = queries()
    more(10, 3)
    assert queries() == few
