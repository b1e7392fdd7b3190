"""Aliases: they store a hash, not a row."""

import pytest

from organizations.models import AuditEvent
from tests.support import images

LOGO = "/sourceimages/acme/alias/logo"


def put(person, hash, path=LOGO, **query):
    return person.api.put(path, {"hash": hash}, format="json", query_params=query)


def test_an_alias_is_made_read_changed_and_deleted(acme, alice, image):
    other = alice.upload(acme, images.png(seed=9)).json()["items"][0]
    made = put(alice, image.short_hash)
    alias = acme.aliases.get()
    shape = {"organization": "acme", "alias": "logo", "hash": image.hash}
    assert made.status_code == 201
    assert made.json() == shape | {"created": alias.created.strftime("%Y-%m-%dT%H:%M:%S+00:00")}
    assert alice.api.get(LOGO).json() == made.json()

    again = put(alice, other["hash"])
    assert (again.status_code, again.json()["error"]["reason"]) == (409, "alias_exists")
    assert alice.api.get(LOGO).json()["hash"] == image.hash
    changed = put(alice, other["hash"], overwrite="true")
    assert (changed.status_code, changed.json()["hash"]) == (200, other["hash"])

    assert alice.api.delete(LOGO).status_code == 204
    assert alice.api.delete(LOGO).status_code == alice.api.get(LOGO).status_code == 404
    assert acme.images.count() == 2
    verbs = AuditEvent.objects.filter(action__startswith="alias.").order_by("id").values_list("action", flat=True)
    assert list(verbs) == ["alias.created", "alias.updated", "alias.deleted"]


def test_an_alias_outlives_its_image(acme, alice, image):
    put(alice, image.hash)
    alice.api.delete(f"/sourceimages/acme/{image.hash}")
    assert alice.api.get(LOGO).json()["hash"] == image.hash
    assert put(alice, image.hash, overwrite="true").status_code == 404  # image not found


@pytest.mark.parametrize("name", ["lo-go", "lo.go", "lo%20go", "l\u00f6go", "a" * 256])
def test_what_no_alias_can_be_called_is_not_there(acme, alice, image, name):
    path = f"/sourceimages/acme/alias/{name}"
    assert put(alice, image.hash, path).status_code == 404
    assert alice.api.get(path).status_code == alice.api.delete(path).status_code == 404


@pytest.mark.parametrize("body", ["", "[]", "5", "{}", '{"hash": 5}', "nothing"])
def test_a_body_without_a_hash_is_refused(acme, alice, body):
    response = alice.api.generic("PUT", LOGO, body, "text/plain")
    assert response.status_code == 400
    assert not acme.aliases.exists()


def test_an_unknown_hash_is_refused(acme, alice):
    response = put(alice, "0" * 40)
    assert (response.status_code, response.json()["error"]["reason"]) == (404, "image_not_found")


def test_aliases_of_others_are_not_to_be_seen(acme, alice, image, charlie):
    put(alice, image.hash)
    assert charlie.api.get(LOGO).status_code == 403
    assert charlie.api.get("/sourceimages/other/alias/logo").status_code == 404


def test_a_copy_takes_no_alias_along(acme, alice, stage, image):
    put(alice, image.hash)
    alice.api.generic("COPY", f"/sourceimages/acme/{image.hash}", headers={"Destination": "stage"})
    assert not stage.aliases.exists()
