"""Versions on the page of an image, and undoing on the page of a job."""

import pytest

from organizations.models import Job
from organizations.permissions import Role
from sourceimages import jobs, queue
from sourceimages.jobs.selection import Selection
from sourceimages.models import ImageVersion
from sourceimages.operations import rename_image, replace_user_metadata, set_locked
from tests.sourceimages.admin.conftest import (
    confirm,
    everything,
    fresh,
    logged_in,
    messages_of,
    page_of,
    press,
    text_of,
)

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

BUTTON = "Restore this version"


@pytest.fixture(autouse=True)
def jobs_stay_queued(monkeypatch):
    """Tests run jobs themselves."""
    monkeypatch.setattr(queue, "enqueue_job", lambda job_id: None)


@pytest.fixture
def renamed(image, alice):
    rename_image(image, "<b>other.png", actor=alice.actor)
    rename_image(image, "third.png", actor=alice.actor)
    return image


def restore(browser, image, version):
    return browser.post(page_of(image), {"action": "history", "version_id": version})


def test_a_version_is_restored_on_the_page_of_its_image(staff, ines, renamed):
    text = text_of(staff.get(page_of(renamed)))
    assert (text.count(BUTTON), "&lt;b&gt;other.png" in text, "<b>other" in text) == (2, True, False)
    first = ImageVersion.objects.earliest("pk")
    restore(staff, renamed, first.pk)
    assert fresh(renamed).name == "harbour.png"
    undone = ImageVersion.objects.latest("pk")
    assert (undone.kind, undone.user, undone.source) == ("version_restored", ines, "staff")


def test_a_locked_image_offers_and_restores_nothing(staff, renamed, alice):
    set_locked(renamed, True, actor=alice.actor)
    assert BUTTON not in text_of(staff.get(page_of(renamed)))
    before = everything()
    assert restore(staff, renamed, ImageVersion.objects.earliest("pk").pk).status_code == 400
    assert everything() == before


@pytest.mark.parametrize("version", ["", "x", "0", "9" * 19])
def test_a_version_that_does_not_exist_is_refused(staff, renamed, version):
    before = everything()
    assert restore(staff, renamed, version).status_code == 400
    assert everything() == before


def test_readers_cannot_restore_versions(colleague, renamed):
    reader = colleague(Role.READ)
    assert BUTTON not in text_of(reader.get(page_of(renamed)))
    before = everything()
    assert restore(reader, renamed, ImageVersion.objects.earliest("pk").pk).status_code == 403
    assert everything() == before


def test_restoring_requires_the_csrf_token(ines, renamed):
    before = everything()
    assert restore(logged_in(ines, enforce_csrf_checks=True), renamed, 1).status_code == 403
    assert everything() == before


# --- Jobs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def metadata_job(acme, three, alice):
    chosen = Selection(acme, in_trash=False, ids=tuple(image.pk for image in three))
    return jobs.run(jobs.start_bulk_action("set_metadata", chosen, actor=alice.actor, changes={"title": "All"}).pk)


def test_a_job_is_undone_after_confirmation(staff, metadata_job, three):
    before = everything()
    confirmation = press(staff, metadata_job, "undo")
    assert "Edit metadata: acme, 3 of 3 images" in text_of(confirmation)
    assert everything() == before
    answer = confirm(staff, confirmation)
    undoing = Job.objects.get(kind="undo")
    (message,) = messages_of(answer)
    assert page_of(undoing) in message
    assert jobs.run(undoing.pk).counts == {"undone": 3}
    assert [fresh(image).user_metadata for image in three] == [{}, {}, {}]


def test_undoing_a_copy_requires_permission_at_the_destination(colleague, stage_writer, acme, stage, three, alice):
    job = jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor).pk)
    here = colleague(Role.WRITE)
    assert 'name="_undo"' not in text_of(here.get(page_of(job)))
    refused = here.post(page_of(job), {"_undo": "yes", "confirmed": "yes", "_selected_action": [job.pk]}, follow=True)
    assert refused.status_code == 200
    assert (stage.images.active().count(), Job.objects.count()) == (3, 1)
    confirm(stage_writer, press(stage_writer, job, "undo"))
    jobs.run(Job.objects.get(kind="undo").pk)
    assert stage.images.active().count() == 0


def test_jobs_that_cannot_be_undone_have_no_undo_button(staff, acme, three, alice):
    indexing, deleting = jobs.start_reindex(acme, actor=alice.actor), jobs.start_delete_all(acme, actor=alice.actor)
    for job in (jobs.run(indexing.pk), jobs.run(deleting.pk)):
        assert 'name="_undo"' not in text_of(staff.get(page_of(job)))


def test_details_of_events_are_shown_as_json(staff, three, alice):
    replace_user_metadata(three[0], {"photographer": "Ada"}, actor=alice.actor)
    assert "{&quot;photographer&quot;: &quot;Ada&quot;}" in text_of(staff.get(page_of(three[0])))
