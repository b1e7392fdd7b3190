"""Concurrent operations on the same images end in one of the allowed states, never in between."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job, Organization
from rokka.core.errors import Conflict, DomainError, Unavailable
from sourceimages import jobs, storage
from sourceimages.errors import ImageLocked, ImageNotFound, JobInProgress
from sourceimages.jobs import restore_deletion
from sourceimages.maintenance import purge
from sourceimages.models import SourceImage, StoredFile, Tombstone
from sourceimages.operations import (
    copy,
    copy_images,
    delete_by_binary_hash,
    delete_image,
    restore_image,
    set_locked,
    set_protected,
)
from sourceimages.operations.update import derive
from tests.conftest import Person, consistency_errors
from tests.support import images
from tests.support.storage import collect, set_grace_time

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 8
HEAD_START = 0.02  # seconds by which one may begin before another, so that each round meets at another place


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 5)
    monkeypatch.setattr(restore_deletion, "BATCH", 5)
    monkeypatch.setattr(purge, "BATCH", 5)


@pytest.fixture
def fifty(acme: Organization, alice: Person) -> list[SourceImage]:
    """Fifty images of twenty files."""
    hashes = uploaded(alice, acme, *(images.png(seed=seed) for seed in range(20)))
    for number in range(30):
        image = acme.images.get(hash=hashes[number % len(hashes)])
        text = {"version": {"text": str(number)}}
        derive(image, text, protected=False, delete_previous=False, actor=COMMAND)
    return list(acme.images.order_by("id"))


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The result or the error of each call; all start at once, each with its own connection."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait(30)
            time.sleep(random.random() * HEAD_START)
            return call()
        except DomainError as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def uploaded(person: Person, organization: Organization, *contents: bytes) -> list[str]:
    """The hashes of the images, in the order of their contents."""
    response = person.upload(organization, *contents)
    assert response.status_code == 200, response.json()
    return [item["hash"] for item in response.json()["items"]]


def uploaded_at_last(person: Person, organization: Organization, *contents: bytes) -> list[str]:
    """Retry after a conflict, as clients do."""
    while (response := person.upload(organization, *contents)).status_code == 409:
        continue
    assert response.status_code == 200, response.json()
    return [item["hash"] for item in response.json()["items"]]


def in_trash(image: SourceImage, *, expires_in: float = -1) -> SourceImage:
    """Delete the image, which expires in this many seconds."""
    tombstone = delete_image(image, actor=COMMAND)
    Tombstone.objects.filter(pk=tombstone.pk).update(expires_at=timezone.now() + timedelta(seconds=expires_in))
    return image


def finished(job: Job) -> Job:
    """Run the job to its end, with retries after conflicts, as a worker does."""
    while True:
        try:
            return jobs.run(job.pk)
        except Conflict:
            continue


def download(person: Person, organization: Organization, hash: str) -> bytes:
    response = person.api.get(f"/sourceimages/{organization}/{hash}/download")
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def orphans() -> set[str]:
    """Orphaned files. There must be none: an operation that loses a race removes its files."""
    return {held.key for held in storage.originals().list_objects()} - set(
        StoredFile.objects.values_list("key", flat=True)
    )


# --- The trash --------------------------------------------------------------------------------------------------------


def test_files_that_are_uploaded_while_they_are_purged_are_stored(acme, alice):
    for seed in range(ROUNDS):
        content = images.png(seed=seed)
        [hash] = uploaded(alice, acme, content)
        in_trash(acme.images.get(hash=hash))
        response, purged = together(lambda content=content: alice.upload(acme, content), purge.purge_expired)
        assert (response.status_code, purged) == (200, 1)
        assert acme.images.get().hash == hash
        assert download(alice, acme, hash) == content
        acme.images.update(tombstone=None)
        in_trash(acme.images.get())
        purge.purge_expired()
    assert orphans() == set()
    assert consistency_errors() == []


def test_files_that_many_upload_while_two_purge_them_are_stored(acme, alice):
    contents = [images.png(seed=seed) for seed in range(8)]
    hashes = uploaded(alice, acme, *contents)
    for _ in range(ROUNDS // 2):
        for image in acme.images.active():
            in_trash(image)
        uploads = [lambda: uploaded_at_last(alice, acme, *random.sample(contents, 4)) for _ in range(4)]
        *_, first, second = together(*uploads, purge.purge_expired, purge.purge_expired)
        assert first + second == len(contents)
        uploaded(alice, acme, *contents)
        assert acme.images.count() == acme.images.active().count() == len(contents)
    assert [download(alice, acme, hash) for hash in hashes] == contents
    assert orphans() == set()
    assert consistency_errors() == []


def test_an_image_is_restored_or_purged_when_it_expires(acme, alice):
    for seed in range(2 * ROUNDS):
        content = images.png(seed=seed)
        [hash] = uploaded(alice, acme, content)
        in_trash(acme.images.get(hash=hash), expires_in=random.random() * HEAD_START * 2)
        restored, purged = together(lambda hash=hash: restore_image(acme, hash, actor=COMMAND), purge.purge_expired)
        if isinstance(restored, SourceImage):
            assert purged == 0
            assert acme.images.active().get(hash=hash).pk == restored.pk
            assert download(alice, acme, hash) == content
        else:
            assert isinstance(restored, ImageNotFound)
            assert acme.images.active().filter(hash=hash).count() == 0
            time.sleep(2 * HEAD_START)
            assert purged + purge.purge_expired() == 1  # too late for the one, and maybe too early for the other
            assert not acme.images.filter(hash=hash).exists()
    assert orphans() == set()
    assert consistency_errors() == []


def test_what_is_restored_and_uploaded_at_once_is_one_image(acme, alice):
    for seed in range(ROUNDS):
        content = images.png(seed=seed)
        [hash] = uploaded(alice, acme, content)
        before = in_trash(acme.images.get(hash=hash), expires_in=3600)
        restored, response = together(
            lambda hash=hash: restore_image(acme, hash, actor=COMMAND),
            lambda content=content: alice.upload(acme, content),
        )
        living = acme.images.active().get(hash=hash)
        assert restored.pk == living.pk
        assert response.json()["items"][0]["hash"] == hash
        assert acme.images.filter(hash=hash).count() == (1 if living.pk == before.pk else 2)
        assert acme.files.filter(binary_hash=living.binary_hash).count() == 1
    assert orphans() == set()
    assert consistency_errors() == []


def test_an_image_that_many_restore_is_restored_once(acme, image):
    for turn in range(ROUNDS):
        in_trash(image, expires_in=3600)
        restored = together(*[lambda: restore_image(acme, image.hash, actor=COMMAND)] * 4)
        assert [one.pk for one in restored] == [image.pk] * 4
        assert AuditEvent.objects.filter(action="image.restored").count() == turn + 1
    assert consistency_errors() == []


def test_an_image_that_many_delete_is_deleted_once(acme, image):
    for turn in range(ROUNDS):
        done = together(*[lambda: delete_image(image, actor=COMMAND)] * 4)
        assert sorted(type(one).__name__ for one in done) == [*["ImageNotFound"] * 3, "Tombstone"]
        assert Tombstone.objects.count() == turn + 1
        restore_image(acme, image.hash, actor=COMMAND)
    assert consistency_errors() == []


# --- Locks ------------------------------------------------------------------------------------------------------------


def test_an_image_is_deleted_or_locked(acme, alice):
    for seed in range(ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        path = f"/sourceimages/acme/{hash}"
        deleted, locked = together(
            lambda path=path: alice.api.delete(path).status_code,
            lambda path=path: alice.api.put(f"{path}/options/locked", True, format="json").status_code,
        )
        image = acme.images.get(hash=hash)
        assert (deleted, locked, image.deleted, image.locked) in [(204, 404, True, False), (423, 200, False, True)]
    assert consistency_errors() == []


def test_all_images_of_a_file_are_deleted_or_one_is_locked(acme, alice):
    for seed in range(ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        image = acme.images.get(hash=hash)
        other = set_protected(image, True, delete_previous=False, actor=COMMAND).image
        chosen = random.choice([image, other])
        deleted, locked = together(
            lambda image=image: delete_by_binary_hash(acme, image.binary_hash, actor=COMMAND),
            lambda chosen=chosen: set_locked(chosen, True, actor=COMMAND),
        )
        living = acme.images.active().by_binary_hash(image.binary_hash)
        if isinstance(deleted, Tombstone):
            assert isinstance(locked, ImageNotFound)
            assert living.count() == 0
            assert deleted.images.count() == 2
        else:
            assert isinstance(deleted, ImageLocked)
            assert {one.pk for one in living} == {image.pk, other.pk}
            assert living.get(locked=True).pk == locked.pk == chosen.pk
    assert consistency_errors() == []


def test_deleting_everything_leaves_what_is_locked_meanwhile(acme, fifty):
    wanted = random.sample(fifty, 10)

    def lock() -> list[SourceImage]:
        locked = []
        for image in wanted:
            try:
                locked.append(set_locked(image, True, actor=COMMAND))
            except ImageNotFound:
                continue
        return locked

    done, locked = together(lambda: finished(jobs.start_delete_all(acme, actor=COMMAND)), lock)
    assert set(acme.images.active()) == set(locked)
    assert done.state == (Job.State.SUCCEEDED_WITH_ERRORS if locked else Job.State.SUCCEEDED)
    assert done.counts.get("deleted", 0) == 50 - len(locked)
    assert consistency_errors() == []


# --- Protecting -------------------------------------------------------------------------------------------------------


def test_protecting_at_once_creates_one_image(acme, alice):
    for seed in range(ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        image = acme.images.get(hash=hash)
        done = together(*[lambda image=image: set_protected(image, True, delete_previous=False, actor=COMMAND)] * 4)
        assert len({one.image.pk for one in done}) == 1
        assert {one.protected for one in acme.images.active().by_binary_hash(image.binary_hash)} == {False, True}
        assert acme.images.by_binary_hash(image.binary_hash).count() == 2
    assert consistency_errors() == []


def test_two_who_replace_an_image_by_a_protected_one_create_just_that(acme, alice):
    for seed in range(ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        image = acme.images.get(hash=hash)
        done = together(*[lambda image=image: set_protected(image, True, delete_previous=True, actor=COMMAND)] * 2)
        assert sum(isinstance(one, ImageNotFound) for one in done) == 1
        assert acme.images.active().by_binary_hash(image.binary_hash).get().protected
        assert acme.images.by_binary_hash(image.binary_hash).count() == 2
    assert consistency_errors() == []


def test_one_remains_of_two_images_that_replace_each_other(acme, alice):
    for seed in range(ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        open_one = acme.images.get(hash=hash)
        protected = set_protected(open_one, True, delete_previous=False, actor=COMMAND).image
        together(
            lambda one=open_one: set_protected(one, True, delete_previous=True, actor=COMMAND),
            lambda one=protected: set_protected(one, False, delete_previous=True, actor=COMMAND),
        )
        assert acme.images.active().by_binary_hash(open_one.binary_hash).count() == 1
    assert consistency_errors() == []


def test_many_who_replace_images_of_one_organization_do_not_get_in_each_others_way(acme, alice):
    uploaded(alice, acme, *(images.png(seed=seed) for seed in range(8)))
    for turn in range(2 * ROUNDS):
        protected = turn % 2 == 0
        calls = [
            lambda image=image, protected=protected: set_protected(
                image, protected, delete_previous=True, actor=COMMAND
            )
            for image in acme.images.active()
        ]
        assert all(done.changed for done in together(*calls))
        assert acme.images.active().filter(protected=protected).count() == acme.images.active().count() == 8
    assert consistency_errors() == []


def test_an_image_that_is_protected_while_its_file_is_deleted_is_deleted_or_not_created(acme, alice):
    for seed in range(2 * ROUNDS):
        [hash] = uploaded(alice, acme, images.png(seed=seed))
        image = acme.images.get(hash=hash)
        protected, deleted = together(
            lambda image=image: set_protected(image, True, delete_previous=False, actor=COMMAND),
            lambda image=image: delete_by_binary_hash(acme, image.binary_hash, actor=COMMAND),
        )
        assert acme.images.active().by_binary_hash(image.binary_hash).count() == 0
        assert deleted.images.count() == (1 if isinstance(protected, ImageNotFound) else 2)
    assert consistency_errors() == []


# --- Copying ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_jobs_that_copy_the_same_copy_every_image_once(acme, stage, fifty, overwrite):
    for turn in range(2):
        both = [jobs.start_copy_all(acme, stage, overwrite=overwrite, actor=COMMAND) for _ in range(2)]
        done = together(*[lambda job=job: finished(job) for job in both])
        for job in done:
            assert (job.state, job.total, job.processed, job.failed) == (Job.State.SUCCEEDED, 50, 50, 0)
            assert job.counts.keys() <= {"created", "overwritten" if overwrite else "skipped_existing"}
            assert sum(job.counts.values()) == 50
        assert sum(job.counts.get("created", 0) for job in done) == (50 if turn == 0 else 0)
    assert set(stage.images.values_list("hash", flat=True)) == {image.hash for image in fifty}
    assert (stage.images.count(), stage.files.count()) == (50, 20)
    assert orphans() == set()
    assert consistency_errors() == []


def test_a_job_that_several_do_at_once_copies_every_image_once(acme, stage, fifty):
    job = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    together(*[lambda: finished(job)] * 3)
    job.refresh_from_db()
    assert (job.state, job.total, job.processed, job.failed) == (Job.State.SUCCEEDED, 50, 50, 0)
    assert job.counts == {"created": 50}
    assert set(stage.images.values_list("hash", flat=True)) == {image.hash for image in fifty}
    assert (stage.images.count(), stage.files.count()) == (50, 20)
    assert AuditEvent.objects.filter(action="job.succeeded", job_id=job.pk).count() == 1
    assert orphans() == set()
    assert consistency_errors() == []


def test_copying_there_and_back_at_once_leaves_all_in_both(acme, stage, alice, fifty):
    uploaded(alice, stage, *(images.png(seed=100 + seed) for seed in range(20)))
    there = jobs.start_copy_all(acme, stage, overwrite=True, actor=COMMAND)
    back = jobs.start_copy_all(stage, acme, overwrite=True, actor=COMMAND)
    for job in together(lambda: finished(there), lambda: finished(back)):
        assert job.state == Job.State.SUCCEEDED
        assert sum(job.counts.values()) == job.processed == job.total
    for organization in (acme, stage):
        assert organization.images.count() == 70
    assert orphans() == set()
    assert consistency_errors() == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_copied_to_where_all_is_deleted_stays_and_the_numbers_add_up(acme, stage, fifty, overwrite):
    copy_images(acme, ids(fifty[::2]), stage, overwrite=False, actor=COMMAND)
    for _ in range(3):
        before = stage.images.active().count()
        deleting = jobs.start_delete_all(stage, actor=COMMAND)
        copying = jobs.start_copy_all(acme, stage, overwrite=overwrite, actor=COMMAND)
        deleted, copied = together(lambda job=deleting: finished(job), lambda job=copying: finished(job))
        assert deleted.counts.get("deleted", 0) == deleted.processed == before
        assert sum(copied.counts.values()) == copied.processed == copied.total == 50
        assert stage.images.active().count() == copied.counts.get("created", 0)
    assert orphans() == set()
    assert consistency_errors() == []


def test_copies_have_files_although_these_are_purged_at_the_destination(acme, stage, fifty):
    for _ in range(2):
        copy_images(acme, ids(fifty), stage, overwrite=False, actor=COMMAND)
        finished(jobs.start_delete_all(stage, actor=COMMAND))
        Tombstone.objects.update(expires_at=timezone.now())
        job = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
        copied, purged = together(lambda job=job: finished(job), purge.purge_expired)
        assert copied.counts == {"created": 50}
        assert purged == 50
        assert (stage.images.count(), stage.files.count()) == (50, 20)
        finished(jobs.start_delete_all(stage, actor=COMMAND))
        Tombstone.objects.update(expires_at=timezone.now())
        assert purge.purge_expired() == 50
    assert orphans() == set()
    assert consistency_errors() == []


def test_what_is_deleted_while_it_is_copied_is_copied_or_not(acme, stage, fifty):
    copying = jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND)
    deleting = jobs.start_delete_all(acme, actor=COMMAND)
    copied, deleted = together(lambda: finished(copying), lambda: finished(deleting))
    assert deleted.counts == {"deleted": 50}
    assert copied.counts.get("created", 0) == stage.images.active().count()
    assert sum(copied.counts.values()) == copied.processed == 50
    assert acme.images.active().count() == 0
    assert orphans() == set()
    assert consistency_errors() == []


def ids(images: Sequence[SourceImage]) -> list[int]:
    return [image.pk for image in images]


def paused(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let copying wait between files and rows."""
    write = copy._write

    def after_a_pause(*arguments: Any) -> Any:
        time.sleep(seconds)
        return write(*arguments)

    monkeypatch.setattr(copy, "_write", after_a_pause)


def swept_during(call: Callable[[], Any]) -> Any:
    """The result of the call while garbage collection runs continuously."""
    over = Event()

    def collects() -> None:
        while not over.is_set():
            collect()

    def watched() -> Any:
        try:
            return call()
        finally:
            over.set()

    answer, _ = together(watched, collects)
    return answer


def test_files_of_a_copy_in_progress_are_not_collected(acme, stage, fifty, alice, settings, monkeypatch):
    set_grace_time(20)
    paused(monkeypatch, 0.5)
    outcomes = swept_during(lambda: copy_images(acme, ids(fifty), stage, overwrite=False, actor=COMMAND))
    assert set(outcomes.values()) == {copy.Outcome.CREATED}
    set_grace_time(-1)
    collect()
    assert download(alice, stage, fifty[0].hash) == download(alice, acme, fifty[0].hash)
    assert orphans() == set()
    assert consistency_errors() == []


@pytest.mark.parametrize("seconds", [0.7, 1.5])
def test_a_copy_that_takes_too_long_for_garbage_collection_fails(acme, stage, fifty, settings, monkeypatch, seconds):
    set_grace_time(1)
    monkeypatch.setattr("sourceimages.grace_period.MIN_SECONDS", 1)
    settings.ORPHAN_GRACE_SECONDS = 1
    paused(monkeypatch, seconds)
    refusal = swept_during(lambda: copy_images(acme, ids(fifty), stage, overwrite=False, actor=COMMAND))
    assert isinstance(refusal, Unavailable)
    assert (stage.images.count(), stage.files.count(), acme.images.active().count()) == (0, 0, 50)
    assert orphans() == set()
    assert consistency_errors() == []


# --- Deleting and restoring everything --------------------------------------------------------------------------------


def test_of_many_who_delete_everything_at_once_one_does(acme, fifty):
    begun = together(*[lambda: jobs.start_delete_all(acme, actor=COMMAND)] * 4)
    [job] = [one for one in begun if isinstance(one, Job)]
    assert sum(isinstance(one, JobInProgress) for one in begun) == 3
    assert Tombstone.objects.count() == 1
    assert finished(job).counts == {"deleted": 50}
    assert consistency_errors() == []


def test_everything_is_deleted_once_by_several_who_do_the_same_job(acme, fifty):
    deleting = jobs.start_delete_all(acme, actor=COMMAND)
    together(*[lambda: finished(deleting)] * 3)
    deleting.refresh_from_db()
    assert (deleting.state, deleting.processed, deleting.counts) == (Job.State.SUCCEEDED, 50, {"deleted": 50})
    restoring = jobs.start_restore(acme, actor=COMMAND)
    together(*[lambda: finished(restoring)] * 3)
    restoring.refresh_from_db()
    assert (restoring.state, restoring.processed, restoring.counts) == (Job.State.SUCCEEDED, 50, {"restored": 50})
    assert acme.images.active().count() == 50
    assert consistency_errors() == []


def test_what_is_uploaded_while_everything_is_deleted_is_kept(acme, alice):
    for turn in range(3):
        old = [images.png(seed=1000 * turn + number) for number in range(20)]
        new = [images.png(seed=1000 * turn + 500 + number) for number in range(20)]
        gone = set(uploaded(alice, acme, *old)) | set(acme.images.active().values_list("hash", flat=True))
        job = jobs.start_delete_all(acme, actor=COMMAND)
        deleted, first, second, again = together(
            lambda job=job: finished(job),
            lambda new=new: uploaded(alice, acme, *new[:10]),
            lambda new=new: uploaded(alice, acme, *new[10:]),
            lambda old=old: uploaded(alice, acme, *old),
        )
        assert deleted.counts == {"deleted": len(gone)}
        living = set(acme.images.active().values_list("hash", flat=True))
        assert living - set(again) == {*first, *second}
        assert acme.images.in_trash().filter(tombstone_id=job.params["deletion_id"]).count() == len(gone)
    assert orphans() == set()
    assert consistency_errors() == []


def one_by_one(alice: Person, acme: Organization) -> list[bytes]:
    """Contents of images whose hashes are not in the order of their rows."""
    contents = [images.png(seed=seed) for seed in range(20)]
    for content in contents:
        uploaded(alice, acme, content)
    return contents


def test_metadata_of_many_is_uploaded_while_everything_is_deleted(acme, alice):
    contents = one_by_one(alice, acme)
    for turn in range(ROUNDS // 2):
        fields = {f"meta_user[{number}]": f'{{"turn": "{turn}"}}' for number in range(len(contents))}
        job = jobs.start_delete_all(acme, actor=COMMAND)

        def delete(job: Job = job) -> Job:
            time.sleep(random.random() * 0.2)  # while the upload updates one image after the other
            return finished(job)

        deleted, response = together(delete, lambda fields=fields: alice.upload(acme, *contents, **fields))
        assert deleted.counts == {"deleted": 20}
        assert response.status_code == 200
        assert {item["user_metadata"]["turn"] for item in response.json()["items"]} == {str(turn)}
        for image in acme.images.active():
            delete_image(image, actor=COMMAND)
        finished(jobs.start_restore(acme, Tombstone.objects.get(pk=job.params["deletion_id"]).pk, actor=COMMAND))
    assert acme.images.active().count() == 20
    assert consistency_errors() == []


def test_what_is_uploaded_while_everything_is_restored_is_there_once(acme, alice):
    contents = one_by_one(alice, acme)
    for _ in range(ROUNDS // 2):
        finished(jobs.start_delete_all(acme, actor=COMMAND))
        job = jobs.start_restore(acme, actor=COMMAND)

        def restore(job: Job = job) -> Job:
            time.sleep(random.random() * 0.2)  # while the upload creates one image after the other
            return finished(job)

        restored, hashes = together(restore, lambda: uploaded(alice, acme, *contents))
        assert sum(restored.counts.values()) == restored.processed == 20
        assert restored.counts.keys() <= {"restored", "skipped_existing"}
        assert sorted(hashes) == sorted(acme.images.active().values_list("hash", flat=True))
    assert orphans() == set()
    assert consistency_errors() == []
