"""Restoring from the trash: results are correct, and no values of skipped images are lost."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from sourceimages import jobs
from sourceimages.errors import JobInProgress, TombstoneNotFound
from sourceimages.jobs import restore_deletion
from sourceimages.jobs.selection import Selection
from sourceimages.maintenance.purge import purge_expired
from sourceimages.metadata.user import MAX_FIELDS
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import (
    change_user_metadata,
    delete_image,
    expire_tombstone,
    rename_image,
    restore_image,
    restore_version,
    set_locked,
    set_protected,
)
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")

KNOWN = {"title": "Harbour", "int:year": 2001}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    monkeypatch.setattr(restore_deletion, "BATCH", 2)


@pytest.fixture
def five(acme, alice) -> list[SourceImage]:
    for seed in range(5):
        alice.upload(acme, images.png(seed=seed), name=f"{seed}.png")
    return list(acme.images.order_by("id"))


@pytest.fixture
def deleted(acme, five) -> Tombstone:
    """All five, by one deletion."""
    return Tombstone.objects.get(pk=jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk).params["deletion_id"])


def expire(tombstone: Tombstone) -> None:
    Tombstone.objects.filter(pk=tombstone.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def restore(person, image: SourceImage):
    return person.api.post(f"/sourceimages/acme/{image.hash}/restore")


def events(image: SourceImage) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="image.restored_into", target=image.hash).order_by("id"))


# --- The time that it takes -------------------------------------------------------------------------------------------


def test_starting_a_restore_extends_the_deletion(acme, deleted):
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    jobs.start_restore(acme, actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at - timezone.now() > timedelta(days=29)


def test_beginning_to_restore_never_takes_time_away(acme, deleted):
    far = timezone.now() + timedelta(days=300)
    Tombstone.objects.update(expires_at=far)
    jobs.start_restore(acme, actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at == far


def test_a_restore_that_is_refused_gives_no_time(acme, deleted):
    soon = timezone.now() + timedelta(minutes=5)
    Tombstone.objects.update(expires_at=soon)
    jobs.start_delete_all(acme, actor=COMMAND)
    with pytest.raises(JobInProgress):
        jobs.start_restore(acme, deleted.pk, actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at == soon


def test_a_resumed_restore_extends_the_deletion_again_and_none_if_it_is_too_late(acme, deleted):
    job = jobs.start_restore(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    jobs.stop(job, Job.State.PAUSED, actor=COMMAND)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    jobs.resume(job, actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at - timezone.now() > timedelta(days=29)
    jobs.stop(job, Job.State.PAUSED, actor=COMMAND)
    expire(deleted)
    with pytest.raises(TombstoneNotFound):
        jobs.resume(job, actor=COMMAND)
    job.refresh_from_db()
    assert job.state == "paused"


def test_restoring_what_was_selected_in_the_trash_gives_time_too(acme, five, deleted):
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    jobs.start_bulk_action("restore", Selection(acme, in_trash=True, ids=(five[0].pk,)), actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at - timezone.now() > timedelta(days=29)


def test_the_purge_takes_nothing_that_a_job_is_restoring(acme, five, deleted):
    job = jobs.start_restore(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    expire(deleted)  # the clock leaps
    assert purge_expired() == 0
    assert acme.images.count() == 5
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=1))
    assert jobs.run(job.pk).counts == {"restored": 5}


def test_a_restore_whose_time_runs_out_on_the_way_is_never_done(acme, five, deleted):
    job = jobs.start_restore(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    expire(deleted)
    job = jobs.run(job.pk)
    assert (job.state, job.counts, job.processed) == ("failed", {"restored": 2}, 2)
    assert "expired" in job.error
    assert "2 images were restored" in job.error
    assert purge_expired() == 3


def test_a_restore_whose_images_were_purged_on_the_way_is_never_done(acme, five, deleted, monkeypatch):
    """For example, by a server with an earlier version, which doesn't check for the restore."""
    job = jobs.start_restore(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    Job.objects.filter(pk=job.pk).update(state="cancelled")
    expire(deleted)
    monkeypatch.setattr("sourceimages.maintenance.purge._remove_empty", lambda tombstone: None)
    assert purge_expired() == 3
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=1))
    Job.objects.filter(pk=job.pk).update(state="running")
    job = jobs.run(job.pk)
    assert (job.state, job.counts) == ("failed", {"restored": 2, "not_found": 3})
    assert "permanently deleted" in job.error


def test_images_that_others_have_restored_meanwhile_are_not_missed(acme, five, deleted):
    job = jobs.start_restore(acme, actor=COMMAND)
    restore_image(acme, five[4].hash, actor=COMMAND)
    job = jobs.run(job.pk)
    assert (job.state, job.counts) == ("succeeded", {"restored": 4})


def test_a_deletion_that_is_being_restored_cannot_be_expired(acme, five, deleted):
    jobs.start_restore(acme, actor=COMMAND)
    deleted.refresh_from_db()
    until = deleted.expires_at
    with pytest.raises(JobInProgress):
        expire_tombstone(deleted, actor=COMMAND)
    deleted.refresh_from_db()
    assert deleted.expires_at == until


# --- What is restored -------------------------------------------------------------------------------------------------


def test_the_latest_deletion_is_never_what_another_hash_has_replaced(acme, five, alice):
    delete_image(five[0], actor=COMMAND)
    set_protected(five[1], True, delete_previous=True, actor=COMMAND)
    answer = alice.api.post("/jobs/acme", {"kind": "restore_deletion"}, format="json").json()
    undoes = answer["params"]["undoes"]
    assert (undoes["reason"], undoes["images"]) == ("api", 1)
    assert undoes["deleted_at"].startswith(f"{timezone.now():%Y-%m-%d}")
    jobs.run(Job.objects.get().pk)
    assert acme.images.active().filter(pk=five[0].pk).exists()
    assert [image.pk for image in acme.images.in_trash()] == [five[1].pk]


def test_what_another_hash_has_replaced_is_restored_if_it_is_named(acme, five):
    replaced = set_protected(five[1], True, delete_previous=True, actor=COMMAND)
    with pytest.raises(TombstoneNotFound):
        jobs.start_restore(acme, actor=COMMAND)
    tombstone = acme.tombstones.get()
    assert jobs.run(jobs.start_restore(acme, tombstone.pk, actor=COMMAND).pk).counts == {"restored": 1}
    assert acme.images.active().filter(pk__in=[five[1].pk, replaced.image.pk]).count() == 2


# --- Merging ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def again(acme, alice, image) -> SourceImage:
    """An image that was uploaded again without metadata after it was deleted."""
    change_user_metadata(image, KNOWN, actor=COMMAND)
    delete_image(image, actor=COMMAND)
    alice.upload(acme, images.png(), name=image.name)
    return acme.images.active().get(hash=image.hash)


def test_restoring_what_was_uploaded_again_brings_its_metadata_back(acme, alice, image, again):
    answer = restore(alice, image)
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, KNOWN)
    again.refresh_from_db()
    assert again.user_metadata == KNOWN
    found = alice.api.get("/sourceimages/acme", {"user:int:year": 2001}).json()["items"]
    assert [one["hash"] for one in found] == [image.hash]
    (event,) = events(again)
    assert event.details["restored"] == KNOWN
    assert (event.details["from"]["id"], event.details["conflicting"]) == (image.pk, {})
    assert acme.images.in_trash().get().pk == image.pk
    assert acme.images.active().count() == 1


def test_restoring_again_finds_nothing_to_do(alice, image, again):
    restore(alice, image)
    answer = restore(alice, image)
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, KNOWN)
    assert len(events(again)) == 1


def test_values_in_conflict_stay_as_they_are_and_the_others_are_kept(acme, alice, image, again):
    change_user_metadata(again, {"int:year": 2024}, actor=COMMAND)
    rename_image(again, "other.png", actor=COMMAND)
    answer = restore(alice, image).json()
    assert (answer["name"], answer["user_metadata"]) == ("other.png", {"title": "Harbour", "int:year": 2024})
    (event,) = events(again)
    assert event.details["restored"] == {"title": "Harbour"}
    assert event.details["conflicting"] == {"user_metadata": {"int:year": 2001}, "name": "harbour.png"}
    assert acme.images.in_trash().get().user_metadata == KNOWN


def test_values_in_conflict_can_be_put_back_from_the_history(acme, alice, image, again):
    change_user_metadata(again, {"int:year": 2024, "place": "Basel"}, actor=COMMAND)
    rename_image(again, "other.png", actor=COMMAND)
    restore(alice, image)
    version = acme.versions.get(kind="restore_conflict")
    assert (version.image_id, version.user) == (again.pk, alice.user)
    restored = restore_version(again, version.pk, actor=COMMAND)
    assert (restored.name, restored.user_metadata) == ("harbour.png", KNOWN | {"place": "Basel"})


def test_what_a_locked_image_did_not_take_over_is_in_its_history(acme, alice, image, again):
    set_locked(again, True, actor=COMMAND)
    restore(alice, image)
    set_locked(again, False, actor=COMMAND)
    version = acme.versions.get(kind="restore_conflict")
    assert restore_version(again, version.pk, actor=COMMAND).user_metadata == KNOWN


def test_undoing_a_restore_takes_no_values_of_a_conflict(acme, alice, image, again):
    """The active image never had these values."""
    change_user_metadata(again, {"int:year": 2024}, actor=COMMAND)
    rename_image(again, "other.png", actor=COMMAND)
    restored = jobs.run(jobs.start_restore(acme, actor=COMMAND).pk)
    jobs.run(jobs.start_undo(restored, actor=COMMAND).pk)
    again.refresh_from_db()
    assert (again.name, again.user_metadata) == ("other.png", {"int:year": 2024})


def test_a_field_of_another_type_is_the_same_field(alice, image, again):
    change_user_metadata(again, {"year": "two thousand and one"}, actor=COMMAND)
    assert restore(alice, image).json()["user_metadata"] == {"title": "Harbour", "year": "two thousand and one"}


def test_a_locked_image_takes_nothing_over(alice, image, again):
    set_locked(again, True, actor=COMMAND)
    answer = restore(alice, image)
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, {})
    (event,) = events(again)
    assert event.details["skipped"] == KNOWN


def test_what_would_be_too_many_fields_together_stays_apart(alice, image, again):
    own = {f"f{number}": "x" for number in range(MAX_FIELDS)}
    change_user_metadata(again, own, actor=COMMAND)
    answer = restore(alice, image)
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, own)
    assert events(again)[0].details["conflicting"]["user_metadata"] == KNOWN


def test_what_has_expired_is_not_merged(alice, image, again):
    expire(image.organization.tombstones.get())
    assert restore(alice, image).json()["user_metadata"] == {}


def test_a_job_merges_what_was_uploaded_again_and_says_what_it_left(acme, alice, five):
    for image in five[:4]:
        change_user_metadata(image, KNOWN, actor=COMMAND)
    jobs.run(jobs.start_delete_all(acme, actor=COMMAND).pk)
    for seed in (0, 1, 2, 4):
        alice.upload(acme, images.png(seed=seed), name=f"{seed}.png")
    change_user_metadata(acme.images.active().get(hash=five[1].hash), {"title": "Quay"}, actor=COMMAND)
    set_locked(acme.images.active().get(hash=five[2].hash), True, actor=COMMAND)
    job = jobs.run(jobs.start_restore(acme, actor=COMMAND).pk)
    assert job.counts == {"restored": 1, "merged": 1, "conflicting": 1, "locked": 1, "skipped_existing": 1}
    assert (job.state, job.processed, job.total) == ("succeeded_with_errors", 5, 5)
    assert {one["hash"] for one in job.errors} == {five[1].hash, five[2].hash}
    metadata = dict(acme.images.active().values_list("hash", "user_metadata"))
    assert [metadata[image.hash] for image in five] == [KNOWN, KNOWN | {"title": "Quay"}, {}, KNOWN, {}]
    assert {event.job_id for event in AuditEvent.objects.filter(action="image.restored_into")} == {job.pk}


def test_several_copies_of_an_image_in_one_deletion_lose_nothing(acme, alice, image, again):
    """The second one was added to the deletion while it was in progress, instead of the first."""
    change_user_metadata(again, {"place": "Basel"}, actor=COMMAND)
    tombstone = delete_image(again, actor=COMMAND)
    acme.images.update(tombstone=tombstone)
    job = jobs.run(jobs.start_restore(acme, actor=COMMAND).pk)
    assert sum(job.counts.values()) == 2
    assert acme.images.active().get().user_metadata == KNOWN | {"place": "Basel"}


def test_restoring_a_selected_image_merges_it(acme, image, again):
    job = jobs.start_bulk_action("restore", Selection(acme, in_trash=True, ids=(image.pk,)), actor=COMMAND)
    assert jobs.run(job.pk).counts == {"merged": 1}
    again.refresh_from_db()
    assert again.user_metadata == KNOWN


# --- An older copy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copies(acme, alice) -> list[str]:
    """IDs of three deletions of one image, the oldest first; its title is the number of the deletion."""
    for fields in ({"title": "0", "note": "old"}, {"title": "1"}, {"title": "2"}):
        alice.upload(acme, images.png(), name="a.png", **{"meta_user[0]": json.dumps(fields)})
        delete_image(acme.images.active().get(), actor=COMMAND)
    return [str(one.tombstone_id) for one in acme.images.order_by("id")]


def restored(person, hash: str, deletion: str):
    return person.api.post(f"/sourceimages/acme/{hash}/restore?deletion={deletion}")


def trash(person) -> dict[str, str]:
    """IDs of deletions by the title of the image."""
    items = person.api.get("/sourceimages/acme?deleted=true").json()["items"]
    return {item["user_metadata"]["title"]: item["deletion"] for item in items}


def test_the_trash_names_the_deletion_by_which_an_older_copy_comes_back(acme, alice, copies):
    assert trash(alice) == {str(number): deletion for number, deletion in enumerate(copies)}
    image = acme.images.first()
    answer = restored(alice, image.short_hash, copies[0])
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, {"title": "0", "note": "old"})
    assert "deletion" not in answer.json()
    assert set(trash(alice)) == {"1", "2"}


def test_without_a_deletion_the_newest_comes_back(acme, alice, copies):
    assert restore(alice, acme.images.first()).json()["user_metadata"] == {"title": "2"}
    assert set(trash(alice)) == {"0", "1"}


def test_an_active_image_takes_over_what_the_named_copy_has(acme, alice, copies):
    older = acme.images.get(tombstone=copies[0])
    restore(alice, older)
    answer = restored(alice, older.hash, copies[0])
    assert (answer.status_code, answer.json()["user_metadata"]) == (200, {"title": "2", "note": "old"})
    (event,) = events(older)
    assert event.details["from"]["id"] == older.pk


def test_what_is_not_there_by_this_deletion_is_not_restored(acme, alice, charlie, copies, five):
    image = acme.images.get(tombstone=copies[0])
    other = image.tombstone_id
    delete_image(five[-1], actor=COMMAND)
    elsewhere = str(acme.images.get(pk=five[-1].pk).tombstone_id)
    for deletion, status in ((elsewhere, 404), (acme.pk, 404), ("x", 400), ("", 400)):
        assert restored(alice, image.hash, deletion).status_code == status, deletion
    assert restored(charlie, image.hash, copies[0]).status_code in (403, 404)
    expire(image.tombstone)
    assert restored(alice, image.hash, copies[0]).status_code == 404
    image.refresh_from_db()
    assert image.tombstone_id == other
    assert not AuditEvent.objects.filter(action__in=["image.restored", "image.restored_into"]).exists()
