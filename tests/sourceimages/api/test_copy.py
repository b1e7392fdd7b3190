"""Copying to another organization."""

import io
import zipfile
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from organizations.operations import set_roles
from organizations.permissions import Role
from sourceimages import storage
from sourceimages.models import StoredFile
from tests.support import images
from tests.support.storage import lose

PROTECTED = {"options[0]": '{"protected": true}'}


pytestmark = pytest.mark.usefixtures("consistent")  # after each test


def copy(person, image, destination="stage", *, method="COPY", **headers):
    address = f"/sourceimages/acme/{getattr(image, 'hash', image)}"
    headers = {"Destination": destination} | headers if destination is not None else headers
    return person.api.generic(method, address if method == "COPY" else f"{address}/copy", headers=headers)


def copy_many(person, hashes, destination="stage", **headers):
    headers = {"Destination": destination} | headers
    return person.api.post("/sourceimages/acme/copy", hashes, format="json", headers=headers)


@pytest.mark.parametrize("method", ["COPY", "POST"])
def test_everything_goes_along_but_the_lock(acme, alice, stage, method):
    uploaded = alice.upload(
        acme,
        images.png(seed=3),
        name="harbour.png",
        **PROTECTED,
        **{"meta_user[0]": '{"int:year": 2019}', "meta_dynamic[0]": '{"subject_area": {"x": 1, "y": 2}}'},
    ).json()["items"][0]
    alice.api.put(uploaded["link"] + "/options/locked", True, format="json")
    response = copy(alice, uploaded["hash"], method=method)
    assert (response.status_code, response.json()) == (201, {})
    copied = alice.api.get(f"/sourceimages/stage/{uploaded['hash']}").json()
    expected = {name: value for name, value in uploaded.items() if name != "deleted"}
    assert copied == expected | {
        "organization": "stage",
        "link": f"/sourceimages/stage/{uploaded['hash']}",
        "locked": False,
    }
    assert b"".join(alice.api.get(copied["link"] + "/download").streaming_content) == images.png(seed=3)
    source, target = StoredFile.objects.order_by("id")
    assert source.key != target.key
    assert {event.organization.name for event in AuditEvent.objects.filter(action="image.copied")} == {"stage"}


def test_bytes_are_linked_and_not_copied(image, alice, stage, storage_dir):
    copy(alice, image)
    source, target = StoredFile.objects.order_by("id")
    assert (storage_dir / source.key).stat().st_ino == (storage_dir / target.key).stat().st_ino


def test_bytes_are_copied_where_links_are_switched_off(image, alice, stage, storage_dir, settings):
    settings.STORAGES = settings.STORAGES | {
        "originals": {
            "BACKEND": "sourceimages.storage.LocalStorage",
            "OPTIONS": {"location": str(storage_dir), "links": False},
        }
    }
    assert copy(alice, image).status_code == 201
    source, target = StoredFile.objects.order_by("id")
    assert (storage_dir / source.key).stat().st_ino != (storage_dir / target.key).stat().st_ino


def test_the_original_may_be_purged_without_harm_to_the_copy(image, alice, stage):
    copy(alice, image)
    source = StoredFile.objects.get(organization=image.organization)
    image.delete()
    lose(source.key)
    source.delete()
    from organizations.usage import counters

    counters.add(image.organization, images=-1, bytes=-source.size)
    link = f"/sourceimages/stage/{image.hash}/download"
    assert b"".join(alice.api.get(link).streaming_content) == images.png()


def test_what_is_there_is_overwritten_in_place_and_what_it_was_is_written_down(image, alice, stage):
    copy(alice, image)
    there = stage.images.get()
    alice.api.put(f"/sourceimages/stage/{image.hash}/meta/user", {"a": "theirs"}, format="json")
    alice.api.put(f"/sourceimages/acme/{image.hash}/meta/user", {"a": "ours"}, format="json")
    response = copy(alice, image)
    assert (response.status_code, response.content) == (204, b"")
    after = stage.images.get()
    assert (after.pk, after.user_metadata) == (there.pk, {"a": "ours"})
    event = AuditEvent.objects.get(action="image.overwritten")
    assert event.details["before"]["user_metadata"] == {"a": "theirs"}
    alice.api.put(f"/sourceimages/acme/{image.hash}/meta/user", {"a": "later"}, format="json")
    assert stage.images.get().user_metadata == {"a": "ours"}


def test_existing_images_can_be_skipped(image, alice, stage):
    copy(alice, image)
    alice.api.put(f"/sourceimages/acme/{image.hash}/meta/user", {"a": "ours"}, format="json")
    response = copy(alice, image, Overwrite="F")
    assert response.status_code == 412
    assert response.json()["error"]["reason"] == "exists_at_destination"
    assert stage.images.get().user_metadata == {}


def test_a_locked_image_is_not_overwritten(image, alice, stage):
    copy(alice, image)
    alice.api.put(f"/sourceimages/stage/{image.hash}/options/locked", True, format="json")
    alice.api.put(f"/sourceimages/acme/{image.hash}/meta/user", {"a": "ours"}, format="json")
    assert copy(alice, image).status_code == 423
    assert stage.images.get().user_metadata == {}
    assert copy_many(alice, [image.hash]).json() == {"existing": [image.hash], "created": [], "notfound": []}
    assert stage.images.get().user_metadata == {}


def test_one_in_the_trash_of_the_destination_stays_there(image, alice, stage):
    copy(alice, image)
    alice.api.delete(f"/sourceimages/stage/{image.hash}")
    assert copy(alice, image).status_code == 201
    assert (stage.images.active().count(), stage.images.in_trash().count()) == (1, 1)
    assert StoredFile.objects.filter(organization=stage).count() == 1


def test_the_short_hash_is_the_destinations_own(image, alice, stage):
    from sourceimages.models import ShortHash

    ShortHash.objects.create(organization=stage, short_hash=image.hash[:6], hash=image.hash[:6] + "f" * 34)
    copy(alice, image)
    assert stage.images.get().short_hash == image.hash[:7]


@pytest.mark.parametrize(
    ("destination", "status", "reason"),
    [
        (None, 400, "invalid_destination"),
        ("", 400, "invalid_destination"),
        ("acme", 400, "invalid_destination"),
        ("nobody", 400, "invalid_destination"),
        ("https://example.org/stage", 400, "invalid_destination"),
        ("other", 403, "not_a_member"),
    ],
)
def test_a_destination_has_to_be_ones_own(image, alice, charlie, destination, status, reason):
    for response in (copy(alice, image, destination), copy(alice, "0" * 40, destination)):
        assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert StoredFile.objects.count() == 1


@pytest.mark.parametrize("role", Role)
def test_copying_needs_a_role_at_both_ends(image, alice, stage, member, role):
    bob = member(role)
    set_roles(stage, bob.user.pk, ["admin"], comment=None, actor=COMMAND)
    reads = {Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ, Role.IMAGES_WRITE, Role.IMAGES_READ}
    assert copy(bob, image).status_code == (201 if role in reads else 403)
    dora = member(Role.READ, email="dora@example.org")
    set_roles(stage, dora.user.pk, [role], comment=None, actor=COMMAND)
    writes = {Role.ADMIN, Role.WRITE, Role.IMAGES_WRITE}
    assert copy(dora, image).status_code in ((201, 204) if role in writes else (403,))


def test_what_is_not_there_is_not_found(acme, alice, stage, image):
    assert copy(alice, "0" * 40).status_code == 404
    alice.api.delete(f"/sourceimages/acme/{image.hash}")
    assert copy(alice, image).status_code == 404
    assert not stage.images.exists()


def test_bytes_that_are_missing_are_not_found(image, alice, stage, monkeypatch):
    monkeypatch.setattr(type(storage.originals()), "copy", lambda self, pairs: {key for key, _ in pairs})
    assert copy(alice, image).status_code == 404
    assert not stage.images.exists()


def test_many_are_copied_and_one_that_fails_spoils_no_other(acme, alice, stage):
    hashes = [alice.upload(acme, images.png(seed=seed)).json()["items"][0]["hash"] for seed in range(4)]
    copy(alice, hashes[0])
    unknown = "0" * 40
    body = copy_many(alice, [*hashes[:3], unknown, hashes[3][:6], hashes[3]]).json()
    assert body == {"existing": hashes[:1], "created": hashes[1:], "notfound": [unknown]}
    left_alone = copy_many(alice, hashes, Overwrite="F").json()
    assert left_alone == {"existing": hashes, "created": [], "notfound": []}


def uploads(person, organization, count, *, first=0, **fields):
    """Hashes of so many new images."""
    contents = [images.png(seed=seed) for seed in range(first, first + count)]
    return [person.upload(organization, content, **fields).json()["items"][0]["hash"] for content in contents]


def test_what_becomes_of_each_is_said_whatever_becomes_of_the_others(acme, alice, stage, member):
    bob = member(Role.IMAGES_READ)  # who may not download protected originals
    set_roles(stage, bob.user.pk, ["admin"], comment=None, actor=COMMAND)
    new, there, locked, lost, deleted = uploads(alice, acme, 5)
    (secret,) = uploads(alice, acme, 1, first=5, **PROTECTED)
    copy(alice, there)
    copy(alice, locked)
    for hash in (there, locked):
        alice.api.put(f"/sourceimages/acme/{hash}/meta/user", {"a": "ours"}, format="json")
    alice.api.put(f"/sourceimages/stage/{locked}/options/locked", True, format="json")
    alice.api.delete(f"/sourceimages/acme/{deleted}")
    file = acme.images.get(hash=lost).file
    content = b"".join(storage.originals().open(file.key))
    lose(file.key)
    asked = [locked, secret, lost, there[:6], there, "nonsense", deleted, new, new]
    body = copy_many(bob, asked).json()
    assert body == {
        "existing": [locked, there],
        "created": [new],
        "notfound": [secret, lost, "nonsense", deleted],
        "protected": [secret],
    }
    assert set(stage.images.values_list("hash", "locked")) == {(new, False), (there, False), (locked, True)}
    assert stage.images.get(hash=there).user_metadata == {"a": "ours"}
    assert stage.images.get(hash=locked).user_metadata == {}
    events = AuditEvent.objects.filter(organization=stage, user=bob.user)
    assert sorted(events.values_list("action", "target")) == [("image.copied", new), ("image.overwritten", there)]
    overwritten = events.get(action="image.overwritten")
    assert overwritten.target_id == str(stage.images.get(hash=there).pk)
    assert overwritten.details["before"]["user_metadata"] == {}
    assert overwritten.details["source"] == "acme"
    path = storage.originals().path(file.key)
    with open(path, "wb") as again:
        again.write(content)


def test_an_image_that_the_storage_fails_with_does_not_spoil_the_others(acme, alice, stage):
    hashes = uploads(alice, acme, 3)
    path = Path(storage.originals().path(acme.images.get(hash=hashes[1]).file.key))
    kept = path.rename(path.with_suffix(".kept"))
    path.mkdir()  # neither missing nor readable
    try:
        body = copy_many(alice, hashes).json()
    finally:
        path.rmdir()
        kept.rename(path)
    assert body == {"existing": [], "created": [hashes[0], hashes[2]], "notfound": [hashes[1]]}
    assert set(stage.images.values_list("hash", flat=True)) == {hashes[0], hashes[2]}
    assert copy_many(alice, hashes).json()["created"] == [hashes[1]]


def test_many_are_copied_in_as_many_queries_as_few(acme, alice, stage):
    def queries(hashes, **headers):
        with CaptureQueriesContext(connection) as queries:
            assert copy_many(alice, hashes, **headers).status_code == 200
        return len(queries)

    few, many = uploads(alice, acme, 2), uploads(alice, acme, 20, first=2)
    copy_many(alice, uploads(alice, acme, 1, first=30))  # what is looked up once for all is known
    new = queries(few)
    assert queries(many) == new
    # Of two, the one without the checks that every process does from time to time.
    again = min(queries(few) for _ in range(2))
    assert min(queries(many) for _ in range(2)) == again
    assert stage.images.count() == 23


@pytest.mark.parametrize("body", [{}, "abc", [7], [["a"]], None, ["a" * 40] * 101])
def test_a_list_that_is_none_is_refused(alice, stage, body):
    assert copy_many(alice, body).status_code == 400


def test_nothing_to_copy_is_fine(alice, stage):
    assert copy_many(alice, []).json() == {"existing": [], "created": [], "notfound": []}


# --- ZIP --------------------------------------------------------------------------------------------------------------


def archive(person, query=""):
    response = person.api.get(f"/sourceimages/acme/download{query}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))


def test_a_zip_holds_the_originals_of_a_list(acme, alice, member):
    contents = [images.png(seed=seed) for seed in range(3)]
    names = ["../../etc/passwd", "größe.png", "a\\b:c.png"]
    uploaded = [
        alice.upload(acme, content, name=name).json()["items"][0] for content, name in zip(contents, names, strict=True)
    ]
    secret = alice.upload(acme, images.png(seed=7), **PROTECTED).json()["items"][0]
    found = archive(alice, "?sort=created")
    assert found.testzip() is None
    assert [found.read(info) for info in found.infolist()] == [*contents, images.png(seed=7)]
    assert [info.filename.split("_")[0] for info in found.infolist()] == [
        one["short_hash"] for one in [*uploaded, secret]
    ]
    for info in found.infolist():
        assert not any(bad in info.filename for bad in ("/", "\\", "..", ":"))
    restricted = archive(member(Role.IMAGES_READ))
    assert len(restricted.infolist()) == 4
    assert secret["hash"] in restricted.read("MISSING.txt").decode()
    assert [
        archive(alice, "?sort=created&limit=1&offset=1").read(info)
        for info in archive(alice, "?sort=created&limit=1&offset=1").infolist()
    ] == contents[1:2]
    assert archive(alice, f"?binaryHash={uploaded[0]['binary_hash']}").infolist()[0].file_size == len(contents[0])


def test_a_zip_of_nothing_is_one(acme, alice):
    assert archive(alice).infolist() == []


def test_an_image_whose_file_is_missing_does_not_spoil_the_zip_which_names_it(acme, alice, image):
    alice.upload(acme, images.png(seed=1))
    file = image.file
    kept = b"".join(storage.originals().open(file.key))
    path = storage.originals().path(file.key)
    lose(file.key)
    try:
        found = archive(alice)
        assert len(found.infolist()) == 2
        assert image.hash in found.read("MISSING.txt").decode()
    finally:
        with open(path, "wb") as again:
            again.write(kept)


def test_a_stranger_gets_no_zip(acme, charlie):
    assert charlie.api.get("/sourceimages/acme/download").status_code == 403
