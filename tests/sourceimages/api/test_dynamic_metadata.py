"""Dynamic metadata: what is part of the hash."""

import json

import pytest

from sourceimages.models import SourceImage
from sourceimages.operations import set_locked
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")

AREA = {"x": 1, "y": 2, "width": 3, "height": 2}


@pytest.fixture
def entry(image):
    """The path of an entry of the image, 8 pixels wide and 6 high."""
    return lambda name="subject_area", hash=image.hash: f"/sourceimages/acme/{hash}/meta/dynamic/{name}"


def put(person, path, value, **query):
    return person.api.put(path, value, format="json", query_params=query)


def hash_of(response):
    prefix, _, hash = response.headers["Location"].rpartition("/")
    assert prefix == "/sourceimages/acme"
    return hash


def test_setting_makes_another_image_and_removing_leads_back(acme, alice, image, entry):
    made = put(alice, entry(), AREA)
    assert made.status_code == 201
    item = made.json()
    assert hash_of(made) == item["hash"] != image.hash
    assert item["dynamic_metadata"] == {"subject_area": AREA}
    before = alice.api.get(f"/sourceimages/acme/{image.hash}").json()
    for name in ("name", "created", "binary_hash", "user_metadata", "size"):
        assert item[name] == before[name]
    assert before["dynamic_metadata"] == {}

    back = alice.api.delete(entry(hash=item["hash"]))
    assert (back.status_code, hash_of(back)) == (201, image.hash)
    assert acme.images.active().count() == 2


def test_the_same_again_changes_nothing(alice, image, entry):
    hash = hash_of(put(alice, entry(), AREA))
    again = put(alice, entry(hash=hash), AREA | {"percentage": False})
    assert (again.status_code, hash_of(again), again.content) == (204, hash, b"")


def test_the_previous_one_goes_if_asked_and_if_the_hash_changed(acme, alice, image, entry):
    hash = hash_of(put(alice, entry(), AREA, deletePrevious="true"))
    assert alice.api.get(f"/sourceimages/acme/{image.hash}").status_code == 404
    assert put(alice, entry(hash=hash), AREA, deletePrevious="true").status_code == 204
    assert alice.api.get(f"/sourceimages/acme/{hash}").status_code == 200


def test_a_client_says_delete_previous_in_the_body(alice, image, entry):
    hash = hash_of(put(alice, entry(), AREA))
    back = alice.api.generic("DELETE", entry(hash=hash), json.dumps({"deletePrevious": "true"}), "text/plain")
    assert hash_of(back) == image.hash
    assert alice.api.get(f"/sourceimages/acme/{hash}").status_code == 404


def test_the_hash_may_be_kept(acme, alice, image, entry):
    kept = put(alice, entry(), AREA, keepHash="true")
    assert (kept.status_code, hash_of(kept), kept.content) == (204, image.hash, b"")
    assert kept.headers["Warning"].startswith("299 ")
    after = alice.api.get(f"/sourceimages/acme/{image.hash}").json()
    assert (after["hash"], after["dynamic_metadata"]) == (image.hash, {"subject_area": AREA})
    both = put(alice, entry(), AREA, keepHash="true", deletePrevious="true")
    assert both.status_code == 400
    removed = alice.api.delete(entry(), query_params={"keepHash": "1"})
    assert (removed.status_code, hash_of(removed)) == (204, image.hash)
    assert SourceImage.objects.get().dynamic_metadata == {}


def test_a_kept_hash_is_correct_again(acme, alice, image, entry):
    put(alice, entry(), AREA, keepHash="true")
    back = alice.api.delete(entry(), query_params={"deletePrevious": "true"})
    assert (back.status_code, hash_of(back)) == (204, image.hash)
    assert acme.images.active().get().dynamic_metadata == {}
    put(alice, entry(), AREA, keepHash="true")
    set_locked(acme.images.get(), True, actor=alice.actor)
    assert alice.api.delete(entry()).status_code == 423


def test_an_active_image_with_the_new_hash_is_used_as_it_is(acme, alice, image, entry):
    hash = hash_of(put(alice, entry(), AREA))
    alice.api.put(f"/sourceimages/acme/{hash}/name", "other.png", format="json")
    again = put(alice, entry(), AREA)
    assert (again.status_code, again.json()["name"]) == (201, "other.png")
    assert acme.images.active().count() == 2


def test_one_in_the_trash_stays_there(acme, alice, image, entry):
    hash = hash_of(put(alice, entry(), AREA))
    alice.api.delete(f"/sourceimages/acme/{hash}")
    assert hash_of(put(alice, entry(), AREA)) == hash
    assert acme.images.filter(hash=hash).count() == 2
    assert acme.images.active().filter(hash=hash).count() == 1


def test_a_locked_image_is_kept_as_it_is(alice, image, entry):
    set_locked(image, True, actor=alice.actor)
    for query in ({"keepHash": "true"}, {"deletePrevious": "true"}):
        response = put(alice, entry(), AREA, **query)
        assert (response.status_code, response.json()["error"]["reason"]) == (423, "image_locked")
    made = put(alice, entry(), AREA)
    assert (made.status_code, made.json()["locked"]) == (201, False)
    assert SourceImage.objects.get(hash=image.hash).dynamic_metadata == {}


def test_entries_add_up_and_their_order_means_nothing(alice, image, entry):
    one = hash_of(put(alice, entry("version", hash_of(put(alice, entry(), AREA))), {"text": "2"}))
    other = hash_of(put(alice, entry("subject_area", hash_of(put(alice, entry("version"), {"text": "2"}))), AREA))
    assert one == other


GOOD = {
    "subject_area": ({"x": "1", "y": 2}, {"x": 1, "y": 2, "width": 1, "height": 1}),
    "SubjectArea": ({"x": 0, "y": 0}, {"x": 0, "y": 0, "width": 1, "height": 1}),
    "crop_area": (AREA, AREA),
    "multi_areas": ({"face": {"crop_area": AREA}}, {"face": {"crop_area": AREA}}),
    "version": ({"text": "two"}, {"text": "two"}),
    "linked": ({"hashes": ["abcdef"]}, {"hashes": ["abcdef"]}),
    "anything": ({"a": [1, "b", {"c": True}], "d": 2.0}, {"a": [1, "b", {"c": True}], "d": 2}),
}


@pytest.mark.parametrize(("name", "sent", "stored"), [(name, *both) for name, both in GOOD.items()])
def test_entries_come_back_in_one_form(alice, image, entry, name, sent, stored):
    made = put(alice, entry(name), sent)
    assert made.status_code == 201
    assert made.json()["dynamic_metadata"] == {name.replace("SubjectArea", "subject_area"): stored}


BAD = [
    ("subject_area", {"x": 8, "y": 0}, "within 8"),
    ("subject_area", {"x": 0, "y": 5, "width": 1, "height": 2}, "within 8"),
    ("subject_area", {"x": 99, "y": 0, "width": 2, "height": 1, "percentage": True}, "within 100"),
    ("subject_area", {"x": -1, "y": 0}, "x must be"),
    ("subject_area", {"y": 0}, "x is required"),
    ("subject_area", {"x": 0, "y": 0, "z": 0}, "'z'"),
    ("crop_area", {"x": 0, "y": 0}, "width is required"),
    ("crop_area", {"x": 0, "y": 0, "width": 0, "height": 1}, "width must be"),
    ("multi_areas", {"a b": {"crop_area": AREA}}, "area name"),
    ("multi_areas", {"a": {"crop_area": {**AREA, "width": 8}}}, "multi_areas.a"),
    ("version", {"text": 5}, "string"),
    ("version", [], "object"),
    ("linked", {"hashes": ["xyz"]}, "hashes"),
    ("anything", "text", "object"),
    ("anything", {"a": 1.5}, "integer"),
    ("anything", {"a": None}, "values must be"),
    ("protected", {}, "protected"),
    ("An-y", {}, "invalid name"),
    ("a" * 55, {}, "invalid name"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_bad_entries_are_refused_and_nothing_changes(acme, alice, image, entry, name, value, says):
    response = put(alice, entry(name), value)
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "invalid_metadata")
    assert says in response.json()["error"]["message"]
    assert acme.images.get().dynamic_metadata == {}


def test_what_is_not_there_cannot_be_removed(alice, image, entry):
    assert alice.api.delete(entry()).status_code == 404
    assert put(alice, entry(hash="0" * 40), AREA).status_code == 404


def test_faces_are_not_detected_here(alice, image, entry):
    response = put(alice, entry("detection_face"), {})
    assert (response.status_code, response.json()["error"]["reason"]) == (403, "feature_unavailable")


def test_an_area_outside_of_the_image_is_refused_at_the_upload(acme, alice):
    response = alice.upload(
        acme, images.png(8, 6), **{"meta_dynamic[0]": json.dumps({"subject_area": {"x": 8, "y": 0}})}
    )
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "invalid_metadata")
    assert not SourceImage.objects.exists()


def test_short_hashes_work(alice, image, entry):
    assert put(alice, entry(hash=image.short_hash), AREA).status_code == 201
