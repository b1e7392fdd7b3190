"""Changes of an image after its upload, through the API."""

import json
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from organizations.models import AuditEvent
from organizations.permissions import Role
from sourceimages.maintenance import purge
from sourceimages.models import SourceImage, StoredFile, Tombstone
from tests.support import images
from tests.support.storage import let_pass

pytestmark = pytest.mark.usefixtures("consistent")  # after each test


def path(image, *more: str) -> str:
    return "/".join(["/sourceimages/acme", image.hash, *more])


def lock(person, image, value: bool = True):
    return person.api.put(path(image, "options", "locked"), value, format="json")


def refused(response, status: int, reason: str) -> bool:
    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    return True


# --- Deleting ---------------------------------------------------------------------------------------------------------


def test_a_deleted_image_is_not_found_anywhere_but_in_the_trash(image, alice):
    response = alice.api.delete(path(image))
    assert (response.status_code, response.content) == (204, b"")
    assert "Content-Type" not in response.headers
    for method, place in (
        ("GET", path(image)),
        ("GET", path(image, "download")),
        ("GET", path(image, "meta", "user")),
        ("DELETE", path(image)),
        ("PUT", path(image, "name")),
        ("PUT", path(image, "options", "locked")),
        ("PUT", path(image, "options", "protected")),
    ):
        assert refused(
            alice.api.generic(method, place, b"true" if "options" in place else b'"x"'), 404, "image_not_found"
        )
    assert alice.api.get("/sourceimages/acme").json()["total"] == 0
    assert alice.api.get(f"/sourceimages/acme/binaryhash/{image.binary_hash}").json()["items"] == []
    trash = alice.api.get("/sourceimages/acme?deleted=true").json()
    assert trash["total"] == 1
    assert trash["items"][0]["deleted"] is True
    assert trash["items"][0]["deleted_date"]
    assert alice.api.get(path(image) + "?deleted=true").json() == trash["items"][0]


def test_an_active_image_is_not_in_the_trash(image, alice):
    assert alice.api.get("/sourceimages/acme?deleted=true").json()["total"] == 0
    assert alice.api.get(path(image) + "?deleted=true").status_code == 404


def test_the_short_hash_names_an_image_too(image, alice):
    assert alice.api.delete(f"/sourceimages/acme/{image.short_hash}").status_code == 204
    assert alice.api.post(f"/sourceimages/acme/{image.short_hash}/restore").status_code == 200


def test_a_locked_image_is_not_deleted(image, alice):
    lock(alice, image)
    assert refused(alice.api.delete(path(image)), 423, "image_locked")
    assert not Tombstone.objects.exists()
    assert alice.api.get(path(image)).json()["locked"] is True


def test_all_images_of_the_same_bytes_are_deleted_or_none(acme, alice, image):
    protected = alice.upload(acme, images.png(), **{"options[0]": '{"protected": true}'}).json()["items"][0]
    alice.upload(acme, images.png(seed=9))
    address = f"/sourceimages/acme?binaryHash={image.binary_hash}"
    lock(alice, image)
    assert refused(alice.api.delete(address), 423, "image_locked")
    assert acme.images.active().count() == 3
    lock(alice, image, False)
    assert alice.api.delete(address).status_code == 204
    assert Tombstone.objects.get().reason == "binary_hash"
    assert {one.hash for one in acme.images.in_trash()} == {image.hash, protected["hash"]}
    assert refused(alice.api.delete(address), 404, "image_not_found")


def test_all_images_of_the_same_bytes_are_deleted_in_as_many_queries_as_one(acme, alice):
    def queries(seed, count):
        for number in range(count):
            version = {"meta_dynamic[0]": json.dumps({"version": {"text": str(number)}})}
            item = alice.upload(acme, images.png(seed=seed), **version).json()["items"][0]
        with CaptureQueriesContext(connection) as queries:
            assert alice.api.delete(f"/sourceimages/acme?binaryHash={item['binary_hash']}").status_code == 204
        return len(queries)

    assert queries(seed=1, count=1) == queries(seed=2, count=5)
    deleted = AuditEvent.objects.filter(action="image.deleted").values_list("target", "target_id", "tombstone_id")
    in_trash = acme.images.in_trash().values_list("hash", "id", "tombstone_id")
    assert set(deleted) == {(hash, str(id), tombstone) for hash, id, tombstone in in_trash}
    assert len(deleted) == 6


def test_the_message_of_what_is_missing_is_the_one_that_clients_look_for(acme, alice, stage, image):
    unknown = "0" * 40
    headers = {"Destination": "stage"}
    answers = [
        alice.api.get(f"/sourceimages/acme/{unknown}"),
        alice.api.get(f"/sourceimages/acme/{unknown}/download"),
        alice.api.get(f"/sourceimages/acme/{image.hash}?deleted=true"),
        alice.api.delete(f"/sourceimages/acme/{unknown}"),
        alice.api.delete(f"/sourceimages/acme?binaryHash={unknown}"),
        alice.api.post(f"/sourceimages/acme/{unknown}/restore"),
        alice.api.post(f"/sourceimages/acme/{unknown}/copy", headers=headers),
        alice.api.put(f"/sourceimages/acme/{unknown}/options/locked", True, format="json"),
        alice.api.get(f"/sourceimages/acme/{unknown}/history"),
    ]
    for answer in answers:
        assert refused(answer, 404, "image_not_found")
        assert "No source image found" in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["", "?binaryHash", "?binaryHash=", "?binaryhash=x", "?deleted=true"])
def test_without_a_binary_hash_nothing_is_deleted(acme, alice, image, query):
    assert alice.api.delete(f"/sourceimages/acme{query}").status_code == 400
    assert acme.images.active().count() == 1


def test_the_database_itself_refuses_a_locked_image_in_the_trash(acme, image, alice):
    alice.api.delete(path(image))
    with pytest.raises(IntegrityError), transaction.atomic():
        SourceImage.objects.filter(pk=image.pk).update(locked=True)


# --- Restoring --------------------------------------------------------------------------------------------------------


def test_a_restored_image_has_everything_it_had(image, alice):
    alice.api.put(path(image, "meta", "user"), {"int:year": 2019}, format="json")
    before = alice.api.get(path(image)).json()
    alice.api.delete(path(image))
    response = alice.api.post(path(image, "restore"))
    assert response.status_code == 200
    assert response.json() == before | {"deleted": False}
    assert alice.api.get(path(image)).json() == before


def test_restoring_what_was_never_deleted_is_fine(image, alice):
    assert alice.api.post(path(image, "restore")).json()["hash"] == image.hash
    assert not AuditEvent.objects.filter(action="image.restored").exists()


def test_an_unknown_hash_cannot_be_restored(image, alice):
    assert refused(alice.api.post("/sourceimages/acme/" + "0" * 40 + "/restore"), 404, "image_not_found")


@pytest.mark.parametrize(("days", "status"), [(29, 200), (30, 404), (31, 404)])
def test_an_image_can_be_restored_for_thirty_days(image, alice, days, status):
    alice.api.delete(path(image))
    let_pass(timedelta(days=days, seconds=1))
    assert (alice.api.get("/sourceimages/acme?deleted=true").json()["total"] == 1) is (status == 200)
    assert alice.api.post(path(image, "restore")).status_code == status


def test_the_time_in_the_trash_is_a_setting(image, alice, settings):
    settings.TRASH_RETENTION_DAYS = 2
    alice.api.delete(path(image))
    let_pass(timedelta(days=2, seconds=1))
    assert alice.api.post(path(image, "restore")).status_code == 404


def test_of_several_in_the_trash_the_newest_comes_back(acme, alice, image):
    for year in (2001, 2002):
        alice.upload(acme, images.png())
        alice.api.put(path(image, "meta", "user"), {"int:year": year}, format="json")
        alice.api.delete(path(image))
    assert alice.api.post(path(image, "restore")).json()["user_metadata"] == {"int:year": 2002}


def test_uploading_what_lies_in_the_trash_makes_a_new_image(acme, alice, image):
    alice.api.put(path(image, "meta", "user"), {"int:year": 2019}, format="json")
    alice.api.delete(path(image))
    again = alice.upload(acme, images.png(), name="again.png").json()["items"][0]
    assert (again["hash"], again["short_hash"]) == (image.hash, image.short_hash)
    assert (again["name"], again["user_metadata"]) == ("again.png", {})
    assert acme.images.in_trash().get().pk == image.pk
    assert StoredFile.objects.count() == 1


# --- Purging ----------------------------------------------------------------------------------------------------------


def test_the_purge_removes_rows_and_bytes_that_nothing_needs(acme, alice, image, storage_dir):
    shared = alice.upload(acme, images.png(), **{"options[0]": '{"protected": true}'}).json()["items"][0]
    alice.upload(acme, images.png(seed=2))
    alice.api.delete(path(image))
    alice.api.delete(
        f"/sourceimages/acme?binaryHash={acme.images.exclude(binary_hash=image.binary_hash).get().binary_hash}"
    )
    assert purge.purge_expired() == 0
    let_pass(timedelta(days=30))
    assert purge.purge_expired() == 2
    assert purge.purge_expired() == 0
    assert acme.images.get().hash == shared["hash"]
    assert StoredFile.objects.count() == 1
    assert len([one for one in storage_dir.glob("*/*/*-*") if one.is_file()]) == 1
    assert len([one for one in storage_dir.glob("trash/*/*/*-*") if one.is_file()]) == 1
    assert not Tombstone.objects.exists()
    assert AuditEvent.objects.filter(action="deletion.purged", source="system").count() == 2
    assert acme.short_hashes.count() == 3


# --- Locking ----------------------------------------------------------------------------------------------------------


def test_a_lock_is_set_and_taken_off(image, alice):
    body = lock(alice, image)
    assert body.status_code == 200
    assert (body.json()["locked"], body.json()["link"]) == (True, path(image))
    assert lock(alice, image).status_code == 200
    assert lock(alice, image, False).json()["locked"] is False
    assert [one.action for one in AuditEvent.objects.filter(target=image.hash).order_by("id")] == [
        "image.created",
        "image.locked",
        "image.unlocked",
    ]


@pytest.mark.parametrize(("sent", "locked"), [(b"true", True), (b"1", True), (b'"true"', True), (b"false", False)])
def test_truth_comes_in_every_form(image, alice, sent, locked):
    response = alice.api.generic("PUT", path(image, "options", "locked"), sent, "text/plain;charset=UTF-8")
    assert response.json()["locked"] is locked


@pytest.mark.parametrize("sent", [b"", b"null", b"maybe", b"[]", b"{}", b"7", b"\xff"])
@pytest.mark.parametrize("option", ["locked", "protected"])
def test_what_is_neither_true_nor_false_is_refused(image, alice, sent, option):
    assert alice.api.generic("PUT", path(image, "options", option), sent).status_code == 400
    image.refresh_from_db()
    assert (image.locked, image.protected) == (False, False)


@pytest.mark.parametrize("role", [Role.WRITE, Role.IMAGES_WRITE, Role.READ])
def test_only_who_may_unlock_locks(image, member, role):
    assert refused(lock(member(role), image), 403, "role_missing")
    assert lock(member(Role.UNLOCK), image).status_code == 200


def test_a_locked_image_cannot_be_changed(acme, image, alice):
    alice.api.put(path(image, "meta", "user"), {"a": "b"}, format="json")
    lock(alice, image)
    for method, place, body in (
        ("DELETE", path(image), None),
        ("PUT", path(image, "meta", "user"), {"a": "c"}),
        ("PATCH", path(image, "meta", "user"), {"a": None}),
        ("DELETE", path(image, "meta", "user"), None),
        ("PUT", path(image, "meta", "user", "a"), "c"),
        ("DELETE", path(image, "meta", "user", "a"), None),
        ("PUT", path(image, "options", "protected") + "?deletePrevious=true", True),
    ):
        assert refused(alice.api.generic(method, place, json.dumps(body)), 423, "image_locked"), place
    assert refused(alice.upload(acme, images.png(), **{"meta_user[0]": '{"a": "c"}'}), 423, "image_locked")
    assert alice.upload(acme, images.png()).status_code == 200
    shown = alice.api.get(path(image)).json()
    assert (shown["user_metadata"], shown["locked"]) == ({"a": "b"}, True)
    assert acme.images.count() == 1


def test_a_locked_image_may_be_renamed(image, alice):
    lock(alice, image)
    assert alice.api.put(path(image, "name"), "new.png", format="json").status_code == 204


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name"),
    [(b'"new.jpg"', "new.jpg"), (b"new.jpg", "new.jpg"), ("größe.jpg".encode(), "größe.jpg"), (b'"a/../b"', "a/../b")],
)
def test_an_image_is_renamed(image, alice, sent, name):
    assert alice.api.generic("PUT", path(image, "name"), sent, "text/plain").status_code == 204
    assert alice.api.get(path(image)).json()["name"] == name
    assert alice.api.get(path(image)).json()["hash"] == image.hash
    event = AuditEvent.objects.get(action="image.renamed")
    assert event.details == {"before": "harbour.png", "after": name}


@pytest.mark.parametrize("sent", [b"", b'""', b"7", b"null", b"[]", b"a\nb", b'"a\\u0000b"', b"x" * 501, b"\xff"])
def test_a_name_that_cannot_be_is_refused(image, alice, sent):
    assert alice.api.generic("PUT", path(image, "name"), sent).status_code == 400
    assert alice.api.get(path(image)).json()["name"] == "harbour.png"


# --- Protecting -------------------------------------------------------------------------------------------------------


def protect(person, image, value, query=""):
    return person.api.put(path(image, "options", "protected") + query, value, format="json")


def test_protecting_makes_another_image_and_leaves_the_old_one(acme, image, alice):
    alice.api.put(path(image, "meta", "user"), {"int:year": 2019}, format="json")
    response = protect(alice, image, True)
    assert response.status_code == 201
    body = response.json()
    assert response.headers["Location"] == body["link"] == f"/sourceimages/acme/{body['hash']}"
    assert body["hash"] != image.hash
    assert body["protected"] is True
    old = alice.api.get(path(image)).json()
    same = ("binary_hash", "name", "created", "user_metadata", "size", "format")
    assert {name: body[name] for name in same} == {name: old[name] for name in same}
    assert StoredFile.objects.count() == 1
    uploaded = alice.upload(acme, images.png(), **{"options[0]": '{"protected": true}'}).json()["items"][0]
    assert uploaded["hash"] == body["hash"]


def test_what_does_not_change_has_the_same_location(image, alice):
    response = protect(alice, image, False, "?deletePrevious=true")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Location"] == path(image)
    assert alice.api.get(path(image)).status_code == 200


def test_the_previous_one_is_deleted_if_asked_and_there_and_back_is_the_first_hash(image, alice):
    there = protect(alice, image, True, "?deletePrevious=true")
    assert alice.api.get(path(image)).status_code == 404
    assert Tombstone.objects.get().reason == "replaced"
    back = alice.api.put(there.headers["Location"] + "/options/protected?deletePrevious=1", False, format="json")
    assert back.headers["Location"] == path(image)
    assert alice.api.get(path(image)).json()["protected"] is False


def test_one_that_is_there_already_is_taken_as_it_is(acme, image, alice):
    theirs = alice.upload(acme, images.png(), **{"options[0]": '{"protected": true}', "meta_user[0]": '{"a": "b"}'})
    response = protect(alice, image, True)
    assert response.status_code == 201
    assert response.json()["hash"] == theirs.json()["items"][0]["hash"]
    assert response.json()["user_metadata"] == {"a": "b"}


def test_one_made_of_a_locked_image_is_not_locked(image, alice):
    lock(alice, image)
    assert protect(alice, image, True).json()["locked"] is False
    assert alice.api.get(path(image)).json()["locked"] is True


# --- User metadata ----------------------------------------------------------------------------------------------------


def meta(person, image, method="GET", body=None, *more):
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body)
    return person.api.generic(method, path(image, "meta", "user", *more), sent, "text/plain;charset=UTF-8")


def test_user_metadata_is_replaced_changed_and_cleared(image, alice):
    assert meta(alice, image).json() == {}
    assert meta(alice, image, "PUT", {"str:artist": "Kim", "int:year": "2019"}).status_code == 204
    assert meta(alice, image).json() == {"artist": "Kim", "int:year": 2019}
    assert meta(alice, image, "PATCH", {"int:year": None, "array:tags": ["a", "b"]}).status_code == 204
    assert meta(alice, image).json() == {"artist": "Kim", "array:tags": ["a", "b"]}
    assert meta(alice, image, "PATCH", {"text:tags": "one name, one field"}).status_code == 204
    assert meta(alice, image).json() == {"artist": "Kim", "text:tags": "one name, one field"}
    assert meta(alice, image, "DELETE").status_code == 204
    assert meta(alice, image).json() == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}"])
def test_an_empty_body_clears_all(image, alice, body):
    meta(alice, image, "PUT", {"a": "b"})
    assert meta(alice, image, "PUT", body).status_code == 204
    assert meta(alice, image).json() == {}


def test_changing_nothing_changes_nothing(image, alice):
    meta(alice, image, "PUT", {"a": "b"})
    for body in (b"", b"[]", b"{}"):
        assert meta(alice, image, "PATCH", body).status_code == 204
    assert meta(alice, image).json() == {"a": "b"}


@pytest.mark.parametrize(
    "body",
    [
        {"Bad-Name": "x"},
        {"int:year": "soon"},
        {"color:x": "y"},
        {"a" * 55: "x"},
        7,
        "text",
        ["a"],
        b"{",
        {"a": "x" * 10_001},
        {"str:a": "x", "int:a": 1},
        {"a": "\0"},
    ],
)
def test_metadata_that_cannot_be_is_refused_and_nothing_changes(image, alice, body):
    meta(alice, image, "PUT", {"a": "b"})
    for method in ("PUT", "PATCH"):
        assert meta(alice, image, method, body).status_code == 400
    assert meta(alice, image).json() == {"a": "b"}


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("artist", b"some value", {"artist": "some value"}),
        ("artist", b'"Kim"', {"artist": "Kim"}),
        ("artist", b"", {"artist": ""}),
        ("str:artist", "Zoë".encode(), {"artist": "Zoë"}),
        ("int:year", b"5", {"int:year": 5}),
        ("int:year", b'"5"', {"int:year": 5}),
        ("array:tags", b'["a"]', {"array:tags": ["a"]}),
        ("date:day", b"2020-01-01T00:00:00.000Z", {"date:day": "2020-01-01T00:00:00Z"}),
        ("latlon:place", b"47.38,8.52", {"latlon:place": "47.38,8.52"}),
        ("artist", b"null", {}),
    ],
)
def test_a_single_field_is_set(image, alice, field, sent, stored):
    assert meta(alice, image, "PUT", sent, field).status_code == 204
    assert meta(alice, image).json() == stored


def test_a_single_field_is_read_and_removed_with_or_without_its_type(image, alice):
    meta(alice, image, "PUT", {"artist": "Kim", "int:year": 5, "array:tags": ["a"]})
    for field, value in (("artist", "Kim"), ("str:artist", "Kim"), ("int:year", 5), ("year", 5), ("tags", ["a"])):
        assert meta(alice, image, "GET", None, field).json() == value
    assert refused(meta(alice, image, "GET", None, "nothing"), 404, "field_not_found")
    assert meta(alice, image, "DELETE", None, "year").status_code == 204
    assert meta(alice, image, "DELETE", None, "year").status_code == 204
    assert meta(alice, image).json() == {"artist": "Kim", "array:tags": ["a"]}


def test_metadata_changes_no_hash_and_is_written_down(image, alice):
    meta(alice, image, "PUT", {"a": "b", "c": "d"})
    meta(alice, image, "PATCH", {"a": "e"})
    assert alice.api.get(path(image)).json()["hash"] == image.hash
    last = AuditEvent.objects.filter(action="image.metadata_updated").order_by("id").last()
    assert last.details == {"before": {"a": "b"}, "after": {"a": "e"}}


# --- What is not there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "word"), [("POST", "autolabel"), ("POST", "autodescription")])
def test_what_is_not_there_is_refused_with_a_reason(image, alice, method, word):
    assert refused(alice.api.generic(method, path(image, word)), 403, "feature_unavailable")
