"""A 200 means that the file is stored: an upload of the same content repairs a missing or corrupt one.

On local files and on a real S3 server.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from organizations.audit import SYSTEM
from organizations.models import AuditEvent
from organizations.permissions import Role
from organizations.usage import counters
from sourceimages import operations, queue
from sourceimages.errors import ExistsAtDestination, ImageNotFound, StorageUnavailable
from sourceimages.maintenance import purge, verify
from sourceimages.models import StoredFile, Tombstone
from sourceimages.operations import set_locked
from tests.conftest import consistency_errors
from tests.support import images, photos
from tests.support.storage import lose, put

CONTENT = images.png(30, 20, seed=5)
SCAN = photos.tiff(photos.noise(61, 43, 3))


@pytest.fixture(autouse=True)
def consistent(db, storage):
    """At the end, every row has its file, unchanged, and there are no others."""
    yield
    assert consistency_errors() == []


@pytest.fixture(autouse=True)
def later(monkeypatch):
    """Don't optimize files unless a test does."""
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)


def lost(storage, file):
    lose(file.key)


def rot(storage, file):
    """Replace the content by another one of the same size, which only a read can detect."""
    lose(file.key)
    put(file.key, b"x" * file.size)


def cut(storage, file):
    lose(file.key)
    put(file.key, b"short")


def upload(person, content=CONTENT, **fields):
    answer = person.upload("acme", content, name="scan.tif", **fields)
    assert answer.status_code == 200, answer.json()
    return answer.json()["items"][0]


def downloaded(person, item):
    answer = person.api.get(f"{item['link']}/download")
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


def optimized(person):
    """A TIFF that has become a PNG."""
    item = upload(person, SCAN, optimize_source="true")
    file = StoredFile.objects.get()
    assert operations.optimize(file.pk)
    file.refresh_from_db()
    assert file.format == "png"
    return item, file


def events(verb):
    return list(AuditEvent.objects.filter(action=verb).order_by("id"))


# What was stored as it was sent


@pytest.mark.parametrize("harm", [lost, cut])
def test_a_file_that_was_lost_is_there_after_the_same_upload(storage, acme, alice, harm):
    first, before = upload(alice), StoredFile.objects.get()
    harm(storage, before)
    assert upload(alice)["hash"] == first["hash"]
    assert downloaded(alice, first) == CONTENT
    file = StoredFile.objects.get()
    assert (file.pk, file.damage) == (before.pk, "")
    assert file.key != before.key  # a key is written once
    (event,) = events("file.healed")
    assert (event.organization, event.target, event.user) == (acme, file.binary_hash, alice.user)
    assert (event.details["before"]["key"], event.details["after"]["key"]) == (before.key, file.key)
    assert [one.key for one in storage.list_objects()] == [file.key]


def test_a_corrupt_file_that_was_found_is_repaired(storage, acme, alice):
    first = upload(alice)
    rot(storage, StoredFile.objects.get())
    with pytest.raises(CommandError):
        call_command("verify", "acme")
    assert StoredFile.objects.get().damage == "corrupt"
    upload(alice)
    assert downloaded(alice, first) == CONTENT
    assert events("file.healed")[0].details["reason"] == "corrupt"
    call_command("verify")


def test_a_file_that_is_there_is_checked_once_and_not_replaced(storage, acme, alice, monkeypatch):
    upload(alice)
    before = list(StoredFile.objects.values())
    asked = []
    size = type(storage).size
    monkeypatch.setattr(type(storage), "size", lambda self, key: asked.append(key) or size(self, key))
    monkeypatch.setattr(type(storage), "put", None)
    upload(alice)
    assert asked == [before[0]["key"]]
    assert list(StoredFile.objects.values()) == before
    assert events("file.healed") == []


def test_nothing_is_answered_200_while_the_storage_does_not_answer(storage, acme, alice, monkeypatch):
    upload(alice)
    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "size", lambda self, key: (_ for _ in ()).throw(StorageUnavailable("down")))
        assert alice.upload("acme", CONTENT).status_code == 503
    assert acme.images.count() == 1


def test_a_key_that_may_only_upload_mends_too(storage, acme, alice, member):
    first = upload(alice)
    lose(StoredFile.objects.get().key)
    upload(member(Role.UPLOAD))
    assert downloaded(alice, first) == CONTENT


def test_a_locked_image_gets_its_file_back(storage, acme, alice):
    first = upload(alice)
    set_locked(acme.images.get(), True, actor=alice.actor)
    lose(StoredFile.objects.get().key)
    upload(alice)
    assert downloaded(alice, first) == CONTENT


def test_others_have_no_part_in_it(storage, acme, alice, stage):
    """The same content in another organization is a different file, which must not change."""
    upload(alice)
    alice.upload(stage, CONTENT)
    lose(acme.files.get().key)
    theirs = list(stage.files.values())
    upload(alice)
    assert list(stage.files.values()) == theirs


# What is copied to where it is lost


@pytest.mark.parametrize("harm", [lost, cut])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_copy_mends_the_file_at_its_destination(storage, acme, alice, stage, harm, overwrite):
    upload(alice)
    item = alice.upload(stage, CONTENT).json()["items"][0]
    image, file = acme.images.get(), stage.files.get()
    if not overwrite:
        operations.delete_image(stage.images.get(), actor=SYSTEM)
    harm(storage, file)
    counted = counters.totals(stage).bytes
    operations.copy_image(image, stage, overwrite=overwrite, actor=alice.actor)
    assert downloaded(alice, item) == CONTENT
    assert counters.totals(stage).bytes == counted
    (event,) = events("file.healed")
    assert (event.target, event.organization) == (file.binary_hash, stage)
    assert event.details["reason"] == ("missing" if harm is lost else "corrupt")


def test_a_copy_of_what_was_optimized_mends_the_file_at_its_destination(storage, acme, alice, stage):
    optimized(alice)
    alice.upload(stage, SCAN, name="scan.tif")
    lose(stage.files.get().key)
    operations.copy_image(acme.images.get(), stage, overwrite=True, actor=alice.actor)
    ours, theirs = acme.files.get(), stage.files.get()
    assert (theirs.format, theirs.size, theirs.content_hash) == ("png", ours.size, ours.content_hash)
    assert stage.images.get().format == "png"


def test_a_copy_of_a_corrupt_file_mends_nothing_and_is_no_success(storage, acme, alice, stage):
    upload(alice)
    alice.upload(stage, CONTENT)
    before = stage.files.values().get()
    lose(before["key"])
    rot(storage, acme.files.get())
    with pytest.raises(ImageNotFound):
        operations.copy_image(acme.images.get(), stage, overwrite=True, actor=alice.actor)
    assert stage.files.values().get() == before
    assert events("file.healed") == []
    assert acme.files.get().damage == "corrupt"
    upload(alice)
    alice.upload(stage, CONTENT)  # in the end everything holds


def test_a_copy_of_what_exists_asks_nothing_of_the_storage(storage, acme, alice, stage, monkeypatch):
    upload(alice)
    alice.upload(stage, CONTENT)
    monkeypatch.setattr(type(storage), "sizes", None)
    with pytest.raises(ExistsAtDestination):
        operations.copy_image(acme.images.get(), stage, overwrite=False, actor=alice.actor)


# What was optimized


@pytest.mark.parametrize("harm", [lost, cut])
@pytest.mark.parametrize("option", ["true", "false"])
def test_an_optimized_file_that_was_lost_becomes_what_was_sent(storage, acme, alice, harm, option):
    item, before = optimized(alice)
    harm(storage, before)
    again = upload(alice, SCAN, optimize_source=option)
    assert (again["hash"], again["format"], again["size"]) == (item["hash"], "tif", len(SCAN))
    assert downloaded(alice, item) == SCAN
    file = StoredFile.objects.get()
    assert (file.optimize_to != "") is (option == "true")
    assert counters.totals(acme).bytes == len(SCAN)
    if option == "true":
        assert operations.optimize(file.pk)
        assert upload(alice, SCAN, optimize_source="true")["format"] == "png"


def test_what_is_sent_again_without_the_option_is_kept_as_sent(storage, acme, alice):
    item, _ = optimized(alice)
    again = upload(alice, SCAN)
    assert (again["hash"], again["format"], again["size"]) == (item["hash"], "tif", len(SCAN))
    assert downloaded(alice, item) == SCAN
    assert counters.totals(acme).bytes == len(SCAN)
    (event,) = events("file.restored_as_uploaded")
    assert (event.details["before"]["format"], event.details["after"]["format"]) == ("png", "tif")
    assert [one.key for one in storage.list_objects()] == [StoredFile.objects.get().key]
    found = alice.api.get("/sourceimages/acme?format=tif").json()
    assert found["total"] == 1


def test_what_waits_to_be_optimized_stays_if_it_is_sent_without_the_option(storage, acme, alice):
    upload(alice, SCAN, optimize_source="true")
    upload(alice, SCAN)
    assert operations.waiting_to_be_optimized() == []
    assert StoredFile.objects.get().format == "tif"


def test_the_option_for_one_of_two_in_a_request_counts_for_the_content(storage, acme, alice):
    optimized(alice)
    assert upload(alice, SCAN, optimize_source="true")["format"] == "png"
    assert events("file.restored_as_uploaded") == []


def test_a_locked_image_stays_optimized(storage, acme, alice):
    item, before = optimized(alice)
    set_locked(acme.images.get(), True, actor=alice.actor)
    assert upload(alice, SCAN)["format"] == "png"
    assert StoredFile.objects.get().key == before.key
    assert downloaded(alice, item).startswith(b"\x89PNG")


def test_a_key_that_may_only_upload_changes_no_format(storage, acme, alice, member):
    _, before = optimized(alice)
    upload(member(Role.UPLOAD), SCAN)
    assert (StoredFile.objects.get().key, StoredFile.objects.get().format) == (before.key, "png")


# Races


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content", ["as sent", "optimized"])
def test_many_who_mend_the_same_file_at_once_leave_one(storage, acme, alice, content):
    if content == "optimized":
        item, file = optimized(alice)
        sent = SCAN
    else:
        item, file, sent = upload(alice), StoredFile.objects.get(), CONTENT
    lose(file.key)

    def again(number):
        try:
            return alice.upload("acme", sent, name="scan.tif").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(again, range(6))) == {200}
    assert downloaded(alice, item) == sent
    assert len(events("file.healed")) == 1


@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_purged_while_it_is_repaired_is_new(storage, acme, alice, monkeypatch):
    upload(alice)
    lose(StoredFile.objects.get().key)
    alice.api.delete(f"/sourceimages/acme/{acme.images.get().hash}")
    Tombstone.objects.update(expires_at="2001-01-01T00:00:00Z")
    place = operations.add.StagedUploads._put

    def purged_first(self, sent):
        key = place(self, sent)
        purge.purge_expired()
        return key

    monkeypatch.setattr(operations.add.StagedUploads, "_put", purged_first)
    item = upload(alice)
    assert downloaded(alice, item) == CONTENT
    assert StoredFile.objects.count() == acme.images.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_optimized_while_it_is_repaired_is_looked_at_again(storage, acme, alice, monkeypatch):
    item = upload(alice, SCAN, optimize_source="true")
    file = StoredFile.objects.get()
    StoredFile.objects.update(damage="corrupt")
    place = operations.add.StagedUploads._put

    def optimized_first(self, sent):
        key = place(self, sent)
        operations.optimize(file.pk, actor=SYSTEM)
        return key

    monkeypatch.setattr(operations.add.StagedUploads, "_put", optimized_first)
    again = upload(alice, SCAN, optimize_source="true")
    assert again["hash"] == item["hash"]
    downloaded(alice, item)


def test_a_file_that_was_verified_says_when(storage, acme, alice):
    upload(alice)
    assert StoredFile.objects.get().verified_at is None
    assert verify.verify(StoredFile.objects.all()) == 1
    assert StoredFile.objects.get().verified_at is not None
    lose(StoredFile.objects.get().key)
    upload(alice)
    assert StoredFile.objects.get().verified_at is None
