"""A job processes the confirmed images: none that match only later, and all that no longer match."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from sourceimages import jobs
from sourceimages.errors import JobExpired, SelectionChanged
from sourceimages.jobs import batches, snapshot
from sourceimages.jobs.bulk_actions import base, delete
from sourceimages.jobs.selection import Selection
from sourceimages.models import JobImage, Tombstone
from sourceimages.operations import change_user_metadata, delete_image, rename_image, restore_image
from tests.support import images
from tests.support.rows import insert_images

pytestmark = pytest.mark.usefixtures("consistent")


@pytest.fixture
def six(acme, alice):
    """Three images of 1950 and three of 1999."""
    six = insert_images(acme, 6, name=lambda seed: f"{'old' if seed < 3 else 'new'} {seed}.png", actor=alice.actor)
    for number, image in enumerate(six):
        change_user_metadata(image, {"int:year": 1950 if number < 3 else 1999}, actor=alice.actor)
    return list(acme.images.order_by("id"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    for module, name in ((delete, "DELETE_BATCH"), (base, "TRANSACTION_BATCH"), (batches, "COPY_BATCH")):
        monkeypatch.setattr(module, name, 2)


def searched(acme, **parameters):
    return Selection(acme, in_trash=False, search=urlencode(parameters))


def names(images):
    return {image.name for image in images}


def test_images_that_match_only_after_the_start_are_not_deleted(acme, six, alice):
    job = jobs.start_bulk_action("delete", searched(acme, q="user:int:year:1950"), actor=alice.actor)
    jobs.run_one_batch(job.pk)
    change_user_metadata(six[5], {"int:year": 1950}, actor=alice.actor)
    alice.upload(acme, images.png(seed=9), name="later.png", **{"meta_user[0]": '{"int:year": 1950}'})
    job = jobs.run(job.pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 3, 3, {"deleted": 3})
    assert names(acme.images.active()) == {"new 3.png", "new 4.png", "new 5.png", "later.png"}
    assert not JobImage.objects.exists()


def test_confirmed_images_that_no_longer_match_are_deleted(acme, six, alice):
    job = jobs.start_bulk_action("delete", searched(acme, q="user:int:year:1950"), actor=alice.actor)
    change_user_metadata(six[1], {"int:year": 1999}, actor=alice.actor)
    assert jobs.run(job.pk).counts == {"deleted": 3}
    assert names(acme.images.active()) == {"new 3.png", "new 4.png", "new 5.png"}


@pytest.mark.parametrize("filters", [{}, {"name": "old"}])
def test_images_restored_or_renamed_after_the_start_are_not_part_of_delete_all(acme, six, alice, filters):
    delete_image(six[2], actor=alice.actor)
    job = jobs.start_delete_all(acme, filters=filters, actor=alice.actor)
    restore_image(acme, six[2].hash, actor=alice.actor)
    rename_image(six[5], "old 5.png", actor=alice.actor)
    job = jobs.run(job.pk)
    assert (job.state, job.processed) == ("succeeded", job.total)
    assert six[2] in acme.images.active()
    assert (six[5] in acme.images.active()) == bool(filters)


def test_images_that_match_the_filter_only_after_the_start_are_not_copied(acme, stage, six, alice):
    job = jobs.start_copy_all(acme, stage, overwrite=False, filters={"name": "old"}, actor=alice.actor)
    rename_image(six[5], "old 5.png", actor=alice.actor)
    assert jobs.run(job.pk).counts == {"created": 3}
    assert stage.images.count() == 3


def test_images_deleted_after_the_start_are_not_copied(acme, stage, six, alice):
    job = jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor)
    delete_image(six[3], actor=alice.actor)
    job = jobs.run(job.pk)
    assert (job.state, job.counts, job.failed) == ("succeeded_with_errors", {"created": 5, "not_found": 1}, 1)
    assert six[3].hash not in set(stage.images.values_list("hash", flat=True))


def test_selected_images_deleted_before_the_start_are_counted_as_not_found(acme, six, alice):
    selection = Selection(acme, in_trash=False, ids=tuple(image.pk for image in six[:2]))
    delete_image(six[0], actor=alice.actor)
    job = jobs.run(jobs.start_bulk_action("lock", selection, actor=alice.actor).pk)
    assert (job.state, job.total, job.counts) == ("succeeded_with_errors", 2, {"locked": 1, "not_found": 1})


def test_other_images_than_the_confirmed_ones_are_refused(acme, six, alice):
    selection = searched(acme, q="user:int:year:1950")
    confirmed = selection.summary().fingerprint
    change_user_metadata(six[0], {"int:year": 1999}, actor=alice.actor)
    change_user_metadata(six[5], {"int:year": 1950}, actor=alice.actor)  # the same number, but other images
    events = AuditEvent.objects.count()
    with pytest.raises(SelectionChanged, match="3 images match now"):
        jobs.start_bulk_action("delete", selection, expected=confirmed, actor=alice.actor)
    assert AuditEvent.objects.count() == events
    assert [model.objects.count() for model in (Job, Tombstone, JobImage)] == [0, 0, 0]
    confirmed = selection.summary().fingerprint
    assert jobs.run(jobs.start_bulk_action("delete", selection, expected=confirmed, actor=alice.actor).pk).counts == {
        "deleted": 3
    }


def test_a_snapshot_can_be_empty(acme, six, alice):
    selection = searched(acme, q="user:int:year:2050")
    job = jobs.start_bulk_action("delete", selection, expected=selection.summary().fingerprint, actor=alice.actor)
    assert (jobs.run(job.pk).state, job.total) == ("succeeded", 0)


@pytest.mark.parametrize("fields", [{"total": 2, "processed": 4}, {"total": 0, "processed": 1}])
def test_processed_cannot_exceed_total(acme, fields):
    with pytest.raises(IntegrityError, match="job_processed_within_total"), transaction.atomic():
        Job.objects.create(organization=acme, kind="delete", **fields)


def test_a_job_from_before_the_upgrade_continues_without_a_snapshot(acme, six):
    tombstone = jobs.start_delete_all(acme, actor=COMMAND).params["deletion_id"]
    JobImage.objects.all().delete()
    Job.objects.update(frozen=False, total=2)
    job = jobs.run(Job.objects.get().pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 6, 6, {"deleted": 6})
    params = {"deletion_id": tombstone}
    Job.objects.update(kind="restore_deletion", params=params, state="queued", processed_id=0, processed=0, counts={})
    assert jobs.run(job.pk).counts == {"restored": 6}


def test_a_snapshot_is_stored_as_long_as_the_job_can_be_resumed(acme, six, alice):
    job = jobs.start_delete_all(acme, actor=alice.actor)
    jobs.run_one_batch(job.pk)
    cancelled = jobs.cancel(job, actor=alice.actor)
    Job.objects.update(finished=timezone.now() - snapshot.RETENTION + timedelta(hours=1))
    assert snapshot.delete_old() == 0
    Job.objects.update(finished=timezone.now() - snapshot.RETENTION - timedelta(minutes=1))
    with pytest.raises(JobExpired):
        jobs.resume(cancelled, actor=alice.actor)
    assert snapshot.delete_old() == 0
    Job.objects.update(finished=timezone.now() - snapshot.RETENTION - timedelta(days=2))
    assert snapshot.delete_old() == 4
    assert (Job.objects.get().state, acme.images.active().count()) == ("cancelled", 4)
