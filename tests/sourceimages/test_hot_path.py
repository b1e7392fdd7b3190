"""The statements of frequent requests: how many there are, and that they do the same as the ORM."""

import os
import threading
from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organizations.models import AuditEvent
from organizations.operations.organizations import update_options
from organizations.usage import counters
from sourceimages import hot_path, probing
from sourceimages.models import MetadataNumber, MetadataString, MetadataToken, SourceImage, Tombstone
from tests.support import images
from tests.support.skips import ON_POSTGRESQL, only_postgresql

pytestmark = pytest.mark.django_db
TRANSACTION = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
FORM = {
    "meta_user[0]": '{"title": "Harbour at night", "int:year": 1999, "array:tags": ["sea", "ship"]}',
    "meta_dynamic[0][subject_area]": '{"x": 1, "y": 1, "width": 2, "height": 2}',
    "options[0]": '{"protected": true}',
}


def upload(person, organization, seed=0):
    """Upload an image with all kinds of metadata; its hash."""
    response = person.upload(organization, images.png(seed=seed), **FORM)
    assert response.status_code == 200
    return response.json()["items"][0]["hash"]


@pytest.fixture
def both(acme, stage, alice, django_capture_on_commit_callbacks):
    """Two organizations after their first upload, which creates the search index and its fields."""
    with django_capture_on_commit_callbacks(execute=True):  # caches the IDs of the fields
        for organization in (acme, stage):
            upload(alice, organization, seed=1)
    return acme, stage


def use_orm(monkeypatch):
    monkeypatch.setattr(hot_path, "prepare_to_add", lambda *args: None)
    monkeypatch.setattr(hot_path, "delete_image", lambda *args: False)


# --- The same rows ----------------------------------------------------------------------------------------------------


def columns(row, *different):
    """The values of all columns, except those that differ between the two organizations."""
    left_out = {"id", "organization_id", "created", "request_id", *different}
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields} | dict.fromkeys(left_out)


def rows_of(organization, hash):
    """All rows of an image."""
    image = organization.images.get(hash=hash)
    entries = {
        (type(entry), entry.field.name, entry.field.type, entry.value)
        for table in (MetadataString, MetadataToken, MetadataNumber)
        for entry in table.objects.filter(image=image).select_related("field")
    }
    assert entries
    events = AuditEvent.objects.filter(organization=organization, target=hash).order_by("id")
    assert {event.target_id for event in events} == {str(image.pk)}
    return [
        columns(image, "file_id", "tombstone_id"),
        columns(image.file, "key"),
        columns(organization.short_hashes.get(hash=hash)),
        [columns(event, "target_id", "tombstone_id") for event in events],
        entries,
        counters.totals(organization),
    ]


@only_postgresql
def test_the_statement_for_an_upload_writes_the_same_rows_as_the_orm(both, alice, monkeypatch):
    acme, stage = both
    hash = upload(alice, acme)
    use_orm(monkeypatch)
    assert upload(alice, stage) == hash
    assert rows_of(acme, hash) == rows_of(stage, hash)


@only_postgresql
def test_the_statement_for_a_deletion_writes_the_same_rows_as_the_orm(both, alice, monkeypatch):
    for organization in both:
        hash = upload(alice, organization)
        assert alice.api.delete(f"/sourceimages/{organization}/{hash}").status_code == 204
        use_orm(monkeypatch)  # for the second one
    acme, stage = both
    assert rows_of(acme, hash) == rows_of(stage, hash)
    first, second = (organization.images.get(hash=hash).tombstone for organization in both)
    assert columns(first, "id", "deleted_at", "expires_at") == columns(second, "id", "deleted_at", "expires_at")
    assert first.expires_at - first.deleted_at == second.expires_at - second.deleted_at


@pytest.mark.parametrize("short", [False, True])
def test_an_image_that_is_looked_up_is_the_row_of_the_orm(both, alice, short):
    acme, _ = both
    image = SourceImage.objects.select_related("file").get(organization=acme)
    found = hot_path.active_image(acme, image.short_hash if short else image.hash)
    assert columns(found) == columns(image)
    assert columns(found.file) == columns(image.file)
    assert columns(hot_path.stored_file(acme, image.binary_hash)) == columns(image.file)
    SourceImage.objects.filter(pk=image.pk).update(hash="0" * 40, short_hash="0" * 6)
    assert hot_path.active_image(acme, image.short_hash if short else image.hash) is None


def test_uploads_with_the_same_short_hash_get_longer_ones(both, alice):
    acme, _ = both
    taken = upload(alice, acme)
    acme.images.filter(hash=taken).delete()
    acme.files.filter(images=None).delete()
    acme.short_hashes.filter(hash=taken).update(hash="f" * 40)
    assert upload(alice, acme) == taken
    assert acme.images.get(hash=taken).short_hash == taken[:7]


def test_an_image_that_was_purged_gets_its_short_hash_again(both, alice):
    acme, _ = both
    hash = upload(alice, acme)
    acme.images.filter(hash=hash).delete()
    acme.files.filter(images=None).delete()
    acme.short_hashes.filter(hash=hash).update(short_hash="abcdef01")
    assert upload(alice, acme) == hash
    assert acme.images.get(hash=hash).short_hash == "abcdef01"


def test_uploads_after_the_language_was_changed_are_indexed_in_it(both, alice):
    acme, _ = both
    update_options(acme, {"search_language": "german"}, actor=alice.actor)
    hash = upload(alice, acme)
    assert alice.api.get(f"/sourceimages/{acme}/{hash}").status_code == 200
    assert acme.search_index.made_for == ""  # rows in two languages


@only_postgresql
def test_nothing_is_inserted_if_the_language_changes_meanwhile(both, alice, monkeypatch):
    acme, _ = both
    original = hot_path.prepare_to_add

    def changed_after(organization, hash):
        prepared = original(organization, hash)
        update_options(acme, {"search_language": "german"}, actor=alice.actor)
        return prepared

    monkeypatch.setattr(hot_path, "prepare_to_add", changed_after)
    hash = upload(alice, acme)  # by the ORM, after the statement has refused
    acme.search_index.refresh_from_db()
    assert (acme.images.filter(hash=hash).count(), acme.search_index.made_for) == (1, "")


def test_a_deleted_or_locked_image_is_not_deleted(both, alice):
    acme, _ = both
    hash = upload(alice, acme)
    acme.images.filter(hash=hash).update(locked=True)
    assert alice.api.delete(f"/sourceimages/{acme}/{hash}").status_code == 423
    acme.images.filter(hash=hash).update(locked=False)
    assert alice.api.delete(f"/sourceimages/{acme}/{hash}").status_code == 204
    assert alice.api.delete(f"/sourceimages/{acme}/{hash}").status_code == 404
    assert Tombstone.objects.filter(images__hash=hash).count() == 1


# --- How much work ----------------------------------------------------------------------------------------------------


@pytest.fixture
def work(monkeypatch):
    """Counts the work of a request: statements, files and folders that are synced, calls of probe workers, threads."""
    counted = Counter()
    fsync, start = os.fsync, threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: counted.update(["threads"]) or start(thread))
    monkeypatch.setattr(os, "fsync", lambda fd: counted.update(["syncs"]) or fsync(fd))

    def counting(call):
        return lambda *args, **options: counted.update(["calls"]) or call(*args, **options)

    for name in ("call", "call_in_parts"):
        monkeypatch.setattr(probing._pool, name, counting(getattr(probing._pool, name)))

    def count(request):
        counted.clear()
        with CaptureQueriesContext(connection) as captured:
            assert request().status_code in (200, 204)
        sent = [query["sql"] or "" for query in captured]  # None if a parameter has no text form
        counted["statements"] = sum(not sql.startswith(TRANSACTION) for sql in sent)
        return dict(counted)

    return count


def test_the_work_for_frequent_requests(both, alice, work):
    acme, _ = both
    hash = upload(alice, acme)
    path = f"/sourceimages/{acme}/{hash}"
    new = work(lambda: alice.upload(acme, images.png(seed=7), **FORM))
    assert new.pop("syncs") in (2, 3)  # the file and its folder, and the folder above if that is new
    assert new == {"statements": 4 if ON_POSTGRESQL else 12, "calls": 1}
    assert work(lambda: alice.upload(acme, images.png(seed=7), **FORM)) == {"statements": 3}
    assert work(lambda: alice.api.get(path)) == {"statements": 2}
    assert work(lambda: alice.api.get(f"/sourceimages/{acme}")) == {"statements": 3}
    assert work(lambda: alice.api.get(f"{path}/download")) == {"statements": 2}
    assert work(lambda: alice.api.delete(path)) == {"statements": 3 if ON_POSTGRESQL else 8}
