"""If database and storage don't belong together, only reads are allowed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job
from rokka.core import env
from rokka.core.errors import Conflict
from sourceimages import jobs, ownership, tasks
from sourceimages.errors import StorageMismatch, StorageUnavailable
from sourceimages.models import Instance, MetadataField, SourceImage, StoredFile, Tombstone
from sourceimages.operations import delete_image
from sourceimages.ownership import Problem, decisions
from sourceimages.storage import OWNER_MARK
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.storage import lose


@pytest.fixture(params=["local", "s3"])
def storage(request, settings, tmp_path):
    """An empty storage, which the settings use."""
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    return storages["originals"]


def marks(storage):
    """The counters of storage and database."""
    mark = storage.read_mark()
    return mark and mark["counter"], Instance.objects.values_list("counter", flat=True).first()


def clear_cache():
    """Expire the cached finding."""
    ownership.checks._cache.last = None


# --- Agreement --------------------------------------------------------------------------------------------------------


def test_the_first_look_marks_both(db, storage):
    ownership.check_writable()
    row = Instance.objects.get()
    assert storage.read_mark()["instance"] == str(row.instance_id)
    assert marks(storage) == (1, 1)
    assert list(storage.list_objects()) == []


def test_maintenance_raises_both_and_notes_the_newest_rows(storage, acme, alice):
    alice.upload(acme, images.png())
    ownership.raise_counter()
    assert marks(storage) == (2, 2)
    newest = StoredFile.objects.get().pk, SourceImage.objects.get().pk
    mark = storage.read_mark()
    assert (mark["newest_file"], mark["newest_image"]) == newest


def test_removing_raises_both_but_not_for_every_file(storage, acme, image):
    for _ in range(3):
        ownership.check_removable()
    assert marks(storage) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_at_once_agree_on_one_mark(storage):
    def start(number):
        try:
            ownership.check_writable()
            ownership.raise_counter()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert storage.read_mark()["instance"] == str(Instance.objects.get().instance_id)
    in_storage, in_database = marks(storage)
    assert in_storage == in_database > 1


def test_what_purge_removes_last_makes_no_database_look_older(storage, acme, image, alice):
    ownership.raise_counter()
    delete_image(image, actor=COMMAND)
    Tombstone.objects.update(expires_at=timezone.now())
    call_command("purge_trash")
    ownership.raise_counter()
    assert not StoredFile.objects.exists()


def test_an_installation_without_marks_gets_them_when_it_has_its_files(storage, acme, image):
    Instance.objects.all().delete()
    lose(OWNER_MARK)
    ownership.raise_counter()
    assert marks(storage) == (2, 2)


def test_an_installation_without_marks_whose_files_are_missing_waits_for_an_operator(storage, acme, image):
    Instance.objects.all().delete()
    lose(OWNER_MARK, StoredFile.objects.get().key)
    with pytest.raises(StorageMismatch, match="no owner mark"):
        ownership.check_removable()
    assert storage.read_mark() is None
    assert not Instance.objects.exists()


def test_a_crash_after_the_database_counted_is_followed_by_the_storage(storage, acme, image):
    Instance.objects.update(counter=2)
    ownership.check_writable()
    ownership.raise_counter()
    assert marks(storage) == (2, 2)
    ownership.raise_counter()
    assert marks(storage) == (3, 3)


def test_the_answer_is_cached_but_not_when_the_folder_is_another_one(db, storage_dir, django_assert_num_queries):
    ownership.check_writable()
    with django_assert_num_queries(0):
        ownership.check_writable()
    storage_dir.rename(storage_dir.parent / "unmounted")
    storage_dir.mkdir()
    with pytest.raises(StorageMismatch):
        ownership.check_writable()
    storage_dir.rmdir()
    with pytest.raises(StorageMismatch):
        ownership.check_writable()
    assert not storage_dir.exists()


def test_a_folder_that_vanished_is_not_made_again(storage_dir, acme, image):
    originals = storages["originals"]
    storage_dir.rename(storage_dir.parent / "unmounted")
    for attempt in (originals.check, lambda: originals.copy([("a/b/c", "d/e/f")])):
        with pytest.raises(StorageUnavailable, match="missing"):
            attempt()
    assert not storage_dir.exists()


# --- Disagreement -----------------------------------------------------------------------------------------------------


def no_row(storage):
    """An empty database, or one that is being restored."""
    Instance.objects.all().delete()


def other_instance(storage):
    Instance.objects.update(instance_id="11111111-1111-4111-8111-111111111111")


def other_database(storage):
    """A copy of the database, for example on a staging server."""
    Instance.objects.update(database="elsewhere")


def older_database(storage):
    Instance.objects.update(counter=1)


def older_rows(storage):
    """A recent dump that is being restored: only the table of the instance is complete."""
    mark = storage.read_mark()
    storage.write_mark(mark | {"newest_file": mark["newest_file"] + 1})


def older_storage(storage):
    Instance.objects.update(counter=20)


def no_mark(storage):
    """A disk that is not mounted, or another folder or bucket."""
    lose(OWNER_MARK)


def damaged_mark(storage):
    storage.write_mark({"instance": "?"})


DISAGREEMENTS: dict[Callable, tuple[Problem, str]] = {
    no_row: (Problem.OTHER_OWNER, "adopt_storage"),
    other_instance: (Problem.OTHER_OWNER, "adopt_storage"),
    other_database: (Problem.OTHER_DATABASE, "accept_restore"),
    older_database: (Problem.OLDER_DATABASE, "accept_restore"),
    older_rows: (Problem.OLDER_DATABASE, "accept_restore"),
    older_storage: (Problem.OLDER_STORAGE, "accept_restore"),
    no_mark: (Problem.NO_MARK, "adopt_storage"),
    damaged_mark: (Problem.UNREADABLE_MARK, "adopt_storage"),
}


@pytest.fixture(params=DISAGREEMENTS, ids=lambda make: make.__name__)
def mismatch(request, storage, acme, image, alice):
    """The problem and the command that accepts it; there are a deleted image and a file without a row."""
    deleted = alice.upload(acme, images.png(seed=7)).json()["items"][0]["hash"]
    delete_image(acme.images.get(hash=deleted), actor=COMMAND)
    Tombstone.objects.update(expires_at=timezone.now())
    spooled = storage.temp_dir / "stray.part"
    spooled.write_bytes(b"of nobody")
    storage.put(spooled, "acme/ab/stray")
    ownership.raise_counter()
    request.param(storage)
    clear_cache()
    return DISAGREEMENTS[request.param]


def test_reads_work_and_writes_are_refused(mismatch, acme, alice, image, client):
    problem, command = mismatch
    link = f"/sourceimages/acme/{image.hash}"
    refused = [
        alice.upload(acme, images.png(seed=1)),
        alice.api.delete(link),
        alice.api.put(f"{link}/name", "other", format="json"),
        alice.api.put("/sourceimages/acme/alias/harbour", {"hash": image.hash}, format="json"),
        alice.api.post("/jobs/acme", {"kind": "delete_all"}, format="json"),
    ]
    for response in refused:
        assert (response.status_code, response.json()["reason"]) == (503, "storage_mismatch")
        assert response.headers["Retry-After"]
        assert command in response.json()["message"]
    assert alice.api.get("/sourceimages/acme?format=png").json()["total"] == 1
    assert b"".join(alice.api.get(f"{link}/download")) == images.png()
    assert alice.api.get("/jobs/acme").json()["items"] == []
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["owner"]) == (503, "failed")
    assert command in ready.json()["problems"]["owner"]
    assert consistency_errors()[0] == problem.error.message


def test_nothing_is_removed_and_every_command_says_why(mismatch, storage, settings, acme, capsys):
    _, command = mismatch
    settings.ORPHAN_GRACE_SECONDS = -5
    before = sorted(held.key for held in storage.list_objects())
    job = jobs.start_delete_all(acme, actor=COMMAND)
    for name in ("collect_garbage", "purge_trash", "optimize_pending", "rebuild_index"):
        with pytest.raises(CommandError, match=command):
            call_command(name)
    for task in (
        tasks.collect_garbage,
        tasks.empty_storage_trash,
        tasks.purge,
        tasks.optimize_pending,
        tasks.extract_colors,
        tasks.raise_owner_mark,
    ):
        task()
    tasks.run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == Job.State.QUEUED
    assert sorted(held.key for held in storage.list_objects()) == before
    assert (SourceImage.objects.count(), Tombstone.objects.count()) == (2, 2)
    call_command("purge_trash", "--dry-run")
    assert command in capsys.readouterr().err


def test_an_operator_accepts_it(mismatch, storage, acme, alice, client):
    problem, command = mismatch
    with pytest.raises(Conflict, match=command):
        decisions.accept_restore(actor=COMMAND) if command == "adopt_storage" else decisions.adopt_storage(
            actor=COMMAND
        )
    with pytest.raises(CommandError, match="--yes"):
        call_command(command)  # not a terminal
    call_command(command, "--yes")
    assert alice.upload(acme, images.png(seed=1)).status_code == 200
    assert client.get("/health/ready").status_code == 200
    event = AuditEvent.objects.get(action__in=["storage.adopted", "restore.accepted"])
    assert event.details["problem"] == problem.name.lower()
    ownership.raise_counter()
    in_storage, in_database = marks(storage)
    assert in_storage == in_database
    with pytest.raises(CommandError, match="nothing to accept"):
        call_command(command, "--yes")


def test_a_strange_storage_is_not_taken_without_asking(storage, acme, alice):
    storage.temp_dir.mkdir(parents=True, exist_ok=True)
    spooled = storage.temp_dir / "file.part"
    spooled.write_bytes(b"an original")
    if hasattr(storage, "location"):
        (storage.temp_dir.parent / "ab").mkdir()
    storage.put(spooled, "ab/one")
    assert alice.upload(acme, images.png()).json()["reason"] == "storage_mismatch"
    assert ownership.examine().problem is Problem.FOREIGN_FILES
    assert storage.read_mark() is None
    call_command("adopt_storage", "--yes")
    assert alice.upload(acme, images.png()).status_code == 200


# --- In the admin -----------------------------------------------------------------------------------------------------


def test_staff_see_it_and_may_only_look(acme, image, client, django_user_model):
    boss = django_user_model.objects.create_superuser("boss", "long enough 1", email="boss@example.org")
    client.force_login(boss)
    no_row(None)
    clear_cache()
    page = f"/admin/sourceimages/sourceimage/{image.pk}/change/"
    assert "adopt_storage" in client.get("/admin/").content.decode()
    assert client.get(page).status_code == 200
    act = {"organization": acme.name, "ids": [image.pk], "confirmed": "yes"}
    for answer in (
        client.post(page, {"action": "name", "name": "other"}),
        client.post("/admin/sourceimages/sourceimage/bulk-action/", act | {"kind": "delete"}),
        client.put("/admin/sourceimages/sourceimage/upload/acme/", b"", content_type="multipart/form-data; boundary=x"),
    ):
        assert answer.status_code == 503
        assert "adopt_storage" in answer.content.decode()
    image.refresh_from_db()
    assert (image.name, image.deleted) == ("harbour.png", False)
    assert client.post("/admin/sourceimages/sourceimage/bulk-action/", act | {"kind": "download"}).status_code == 200
    client.logout()
    assert client.post(page, {"action": "name", "name": "other"}).status_code == 302


# --- What processes remember ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_ids_that_were_remembered_do_not_survive_a_restore(acme, alice):
    """Fields have different IDs in the restored database, and the old IDs belong to other fields."""
    alice.upload(acme, images.png(), **{"meta_user[0]": '{"artist": "kim", "place": "bern"}'})
    ids = dict(MetadataField.objects.filter(name__startswith="user:").values_list("name", "pk"))
    Instance.objects.update(counter=0)
    ownership.checks.write_mark()
    ownership.raise_counter()
    Instance.objects.update(counter=0)
    swap = {"user:artist": ids["user:place"], "user:place": ids["user:artist"]}
    MetadataField.objects.filter(pk=ids["user:artist"]).update(name="swapped")
    MetadataField.objects.filter(pk=ids["user:place"]).update(name="user:artist")
    MetadataField.objects.filter(name="swapped").update(name="user:place")
    clear_cache()
    assert alice.upload(acme, images.png(seed=1)).status_code == 503
    call_command("accept_restore", "--yes")
    new = alice.upload(acme, images.png(seed=1), **{"meta_user[0]": '{"artist": "ann"}'}).json()["items"][0]
    row = acme.images.get(hash=new["hash"]).metadatastrings.get(value="ann")
    assert (row.field.name, row.field_id) == ("user:artist", swap["user:artist"])
