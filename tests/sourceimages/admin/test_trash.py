"""The trash in the admin: deletions are listed, restored as a whole or in part, and deleted permanently."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, queue
from sourceimages.admin import trash
from sourceimages.maintenance import purge
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image, set_protected
from tests.sourceimages.admin.conftest import (
    BULK_ACTION_URL,
    TOMBSTONES,
    choose,
    confirm,
    everything,
    fresh,
    messages_of,
    page_of,
    press,
    selection_fields,
    text_of,
)
from tests.support import images
from tests.support.rows import insert_images
from tests.support.storage import let_pass

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]


@pytest.fixture
def tombstone(acme, three):
    """The deletion of all images of acme."""
    jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    return Tombstone.objects.get()


def test_a_deletion_is_restored_in_the_list(staff, ines, acme, three, tombstone):
    before = everything()
    confirmation = choose(staff, TOMBSTONES, "restore", [tombstone])
    assert "3 images of acme" in text_of(confirmation)
    assert everything() == before
    (message,) = messages_of(confirm(staff, confirmation))
    job = Job.objects.get(kind="restore_deletion")
    assert page_of(job) in message
    assert (job.state, job.counts, job.user, job.source) == ("succeeded", {"restored": 3}, ines, "staff")
    assert set(acme.images.active()) == set(three)
    assert AuditEvent.objects.get(action="job.started", job_id=job.pk).user == ines


def test_a_deletion_is_restored_on_its_page(staff, acme, tombstone):
    before = everything()
    confirmation = press(staff, tombstone, "restore")
    assert everything() == before
    confirm(staff, confirmation)
    assert acme.images.active().count() == 3


def test_a_large_deletion_is_restored_by_a_background_job(staff, acme, tombstone, monkeypatch):
    monkeypatch.setattr(queue, "INLINE_LIMIT", 2)
    monkeypatch.setattr(queue, "enqueue_job", lambda job_id: None)
    (message,) = messages_of(confirm(staff, press(staff, tombstone, "restore")))
    assert "Restore started" in message
    assert acme.images.active().count() == 0


def test_selected_images_of_a_deletion_are_restored(staff, three, tombstone):
    page = staff.get(page_of(tombstone))
    assert 'value="restore"' in text_of(page)
    assert [image.pk for image in page.context["images"]] == [image.pk for image in three]
    sent = selection_fields(three[:2], "restore", in_trash=True, back=f"trash:{tombstone.pk}")
    response = confirm(staff, staff.post(BULK_ACTION_URL, sent))
    assert response.redirect_chain == [(page_of(tombstone), 302)]
    assert [fresh(image).deleted for image in three] == [False, False, True]
    assert [image.pk for image in response.context["images"]] == [three[2].pk]


def test_only_one_deletion_at_a_time_is_restored(staff, acme, tombstone, alice, monkeypatch):
    monkeypatch.setattr(queue, "INLINE_LIMIT", -1)
    monkeypatch.setattr(queue, "enqueue_job", lambda job_id: None)
    alice.upload(acme, images.png(seed=9))
    other = delete_image(acme.images.active().get(), actor=alice.actor)
    messages = messages_of(confirm(staff, choose(staff, TOMBSTONES, "restore", [tombstone, other])))
    assert sum("Another job deletes or restores images" in message for message in messages) == 1
    assert Job.objects.filter(kind="restore_deletion").count() == 1


def test_an_expired_deletion_is_not_restored(staff, tombstone):
    confirmation = choose(staff, TOMBSTONES, "restore", [tombstone])
    Tombstone.objects.update(expires_at=timezone.now())
    before = everything()
    page = text_of(staff.get(page_of(tombstone)))
    assert "_restore" not in page
    assert 'value="restore"' not in page
    assert messages_of(confirm(staff, confirmation)) == [
        "Deletion not found, or it has expired and can no longer be restored."
    ]
    assert everything() == before


def test_images_are_paged_by_id(staff, three, tombstone, monkeypatch):
    monkeypatch.setattr(trash, "PER_PAGE", 2)
    first = staff.get(page_of(tombstone))
    assert [image.pk for image in first.context["images"]] == [image.pk for image in three[:2]]
    second = staff.get(page_of(tombstone), {"after": first.context["after"]})
    assert [image.pk for image in second.context["images"]] == [three[2].pk]
    assert second.context["after"] is None
    for after in ("x", "²", "9" * 40, "-1"):
        assert staff.get(page_of(tombstone), {"after": after}).status_code == 200


def test_counting_stops_at_the_cap(staff, tombstone, monkeypatch):
    monkeypatch.setattr(trash, "COUNT_CAP", 2)
    assert "more than 2" in text_of(staff.get(TOMBSTONES))
    assert "more than 2 still in the trash" in text_of(staff.get(page_of(tombstone)))


def test_protected_images_have_no_preview_in_the_list(staff, acme, image, alice):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    delete_image(protected, actor=alice.actor)
    assert f"/{protected.pk}/preview/" not in text_of(staff.get(TOMBSTONES))
    delete_image(image, actor=alice.actor)
    assert f"/{image.pk}/preview/small/" in text_of(staff.get(TOMBSTONES))


def test_the_remaining_days_are_shown(ines, image, alice, client):
    def days_left():
        client.force_login(ines)
        return re.findall(r"(\d+ days?) left", text_of(client.get(TOMBSTONES)))

    delete_image(image, actor=alice.actor)
    assert days_left() == ["30 days"]
    let_pass(timedelta(days=29, hours=1))
    assert days_left() == ["1 day"]
    let_pass(timedelta(days=1))
    assert days_left() == []


def test_only_the_last_days_are_highlighted(staff, image, alice):
    def is_highlighted():
        pages = [TOMBSTONES, page_of(tombstone), page_of(image), "/admin/"]
        return ["label expiring" in text_of(staff.get(page)) for page in pages]

    tombstone = delete_image(image, actor=alice.actor)
    assert is_highlighted() == [False] * 4
    let_pass(timedelta(days=26))
    assert is_highlighted() == [False] * 4
    let_pass(timedelta(days=1))
    assert is_highlighted() == [True] * 4


# --- Permanent deletion -----------------------------------------------------------------------------------------------


def test_a_superuser_deletes_permanently_after_typing_the_name(staff, ines, acme, tombstone):
    response = staff.post(page_of(tombstone), {"expire": "yes", "name": " acme "})
    assert (response.status_code, response["Location"]) == (302, TOMBSTONES)
    assert fresh(tombstone).expires_at <= timezone.now()
    event = AuditEvent.objects.get(action="deletion.expired")
    assert (event.user, event.source, event.count, event.tombstone_id) == (ines, "staff", 3, tombstone.pk)
    assert purge.purge_expired() == 3
    assert not acme.images.exists()


@pytest.mark.parametrize("name", ["", "ACME", "other", "acme2"])
def test_a_wrong_name_deletes_nothing(staff, tombstone, name):
    before = everything()
    response = staff.post(page_of(tombstone), {"expire": "yes", "name": name})
    assert response.status_code == 400
    assert "Nothing was deleted" in text_of(response)
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_users_who_are_not_superusers_cannot_delete_permanently(colleague, tombstone, role):
    browser = colleague(role)
    before = everything()
    response = browser.post(page_of(tombstone), {"expire": "yes", "name": "acme"})
    assert response.status_code == (400 if Permission.IMAGES_READ in granted([role]) else 404)
    assert 'value="yes">Delete permanently' not in text_of(response)
    assert everything() == before


@pytest.mark.parametrize("role", [Role.READ, Role.IMAGES_READ])
def test_readers_cannot_restore(colleague, three, tombstone, role):
    browser = colleague(role)
    assert "_restore" not in text_of(browser.get(page_of(tombstone)))
    before = everything()
    browser.post(page_of(tombstone), {"_restore": "yes", "confirmed": "yes", "_selected_action": tombstone.pk})
    choose(browser, TOMBSTONES, "restore", [tombstone], confirmed="yes")
    assert (
        browser.post(BULK_ACTION_URL, selection_fields(three, "restore", in_trash=True, confirmed="yes")).status_code
        == 403
    )
    assert everything() == before


def test_more_deletions_take_no_more_queries(staff, acme, alice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(TOMBSTONES).status_code == 200
            assert staff.get(page_of(Tombstone.objects.first())).status_code == 200
        return len(captured)

    def delete_images(count, first):
        for image in insert_images(acme, count, first=first, actor=alice.actor):
            delete_image(image, actor=alice.actor)

    delete_images(3, 0)
    queries()
    before = queries()
    delete_images(10, 3)
    assert queries() == before
