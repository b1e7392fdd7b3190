"""The page of a job: its parameters and outcomes as labels, and links to what they name."""

import re
from html import unescape

import pytest

from organizations.audit import COMMAND
from organizations.models import Job
from organizations.permissions import Role
from sourceimages import jobs
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import set_locked
from tests.sourceimages.admin.conftest import JOBS, page_of, text_of

pytestmark = pytest.mark.any_database

ROW = re.compile(r"<dt>([^<]*)</dt><dd>(.*?)</dd>")
TAGS = re.compile(r"<[^>]+>")


def details(browser, job):
    """Return the texts of the details and of the outcomes by label."""
    return {label: unescape(TAGS.sub("", text)) for label, text in ROW.findall(text_of(browser.get(page_of(job))))}


def links(browser, job):
    rows = dict(ROW.findall(text_of(browser.get(page_of(job)))))
    return {label: found[1] for label, text in rows.items() if (found := re.search('href="([^"]*)"', text))}


def selection_of(acme, rows):
    return Selection(acme, in_trash=False, ids=tuple(image.pk for image in rows))


def test_a_copy_names_its_destination(staff, acme, stage, three):
    options = {"destination": stage, "overwrite": False}
    job = jobs.start_bulk_action("copy", selection_of(acme, three), actor=COMMAND, **options)
    shown = details(staff, job)
    assert (shown["Selection"], shown["Destination"]) == ("3 images", "stage")
    assert shown["Overwrite existing images"] == "no"
    assert links(staff, job)["Destination"] == page_of(stage)


def test_a_destination_is_no_link_without_access(colleague, acme, stage, three):
    job = jobs.start_copy_all(acme, stage, overwrite=True, filters={"format": "png"}, actor=COMMAND)
    browser = colleague(Role.READ)
    shown = details(browser, job)
    assert (shown["Destination"], shown["Filters"]) == ("stage", "format: png")
    assert "Destination" not in links(browser, job)


def test_a_deletion_is_a_link_until_it_is_purged(staff, acme, three):
    job = jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    tombstone = acme.tombstones.get()
    assert details(staff, job)["Deletion"] == f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"
    assert links(staff, job)["Deletion"] == page_of(tombstone)
    SourceImage.objects.all().delete()
    Tombstone.objects.all().delete()
    assert details(staff, job)["Deletion"] == "no longer in the trash"


def test_restoring_describes_the_deletion(staff, acme, three):
    jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    when = acme.tombstones.get().deleted_at
    job = jobs.start_restore(acme, actor=COMMAND)
    assert details(staff, job)["Deleted"] == f"3 images on {when:%Y-%m-%d %H:%M} (delete all)"


def test_changes_of_metadata_are_listed(staff, acme, three):
    changes = {"photographer": "Ada", "int:year": None}
    job = jobs.start_bulk_action("set_metadata", selection_of(acme, three), actor=COMMAND, changes=changes)
    shown = details(staff, job)
    assert (shown["Field set"], shown["Field removed"]) == ("photographer = Ada", "int:year")


def test_undo_and_retry_link_to_the_job(staff, acme, three):
    done = jobs.run(
        jobs.start_bulk_action("set_metadata", selection_of(acme, three), actor=COMMAND, changes={"a": "b"}).pk
    )
    undo = jobs.start_undo(done, actor=COMMAND)
    assert details(staff, undo)["Undoes"].startswith("Edit metadata: acme, 2")
    assert links(staff, undo)["Undoes"] == page_of(done)
    assert details(staff, done)["Undone by"].endswith(", queued")
    assert links(staff, done)["Undone by"] == page_of(undo)
    retry = Job.objects.create(organization=acme, kind="set_metadata", params={"retry_of": str(done.pk)})
    assert links(staff, retry)["Retry of"] == page_of(done)
    assert links(staff, done)["Retried by"] == page_of(retry)


def test_parameters_of_other_versions_are_shown(staff, acme):
    job = Job.objects.create(organization=acme, kind="old_kind", params={"old_name": 3}, counts={"locked": 1})
    shown = details(staff, job)
    assert (shown["Old name"], shown["skipped because locked"]) == ("3", "1")


def test_locked_means_skipped_unless_the_job_locks(staff, acme, three):
    set_locked(three[0], True, actor=COMMAND)
    lock = jobs.run(jobs.start_bulk_action("lock", selection_of(acme, three), actor=COMMAND).pk)
    assert details(staff, lock)["locked"] == "2"
    delete = jobs.run(jobs.start_bulk_action("delete", selection_of(acme, three), actor=COMMAND).pk)
    assert details(staff, delete)["skipped because locked"] == "3"
    listed = text_of(staff.get(JOBS))
    assert "1 already locked, 2 locked" in listed
    assert "3 skipped because locked" in listed


def test_skipped_images_are_named(staff, acme, three):
    set_locked(three[0], True, actor=COMMAND)
    job = jobs.run(jobs.start_bulk_action("delete", selection_of(acme, three), actor=COMMAND).pk)
    assert f">{three[0].name}</a>" in text_of(staff.get(page_of(job)))
    Job.objects.filter(pk=job.pk).update(errors=[{"hash": "a" * 40, "message": "Image is locked."}])
    assert ">Removed image</a>" in text_of(staff.get(page_of(job)))


def test_jobs_are_filtered_by_kind(staff, acme):
    for kind in ("copy", "lock"):
        Job.objects.create(organization=acme, kind=kind, state="succeeded")
    listed = staff.get(JOBS, {"kind": "copy"})
    assert [job.kind for job in listed.context["cl"].result_list] == ["copy"]
    assert ">Copy to organization</a>" in text_of(listed)
