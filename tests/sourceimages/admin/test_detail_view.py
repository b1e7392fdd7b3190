"""The page of one image: what it shows, and its forms."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organizations.models import AuditEvent
from organizations.permissions import Role
from sourceimages import storage
from sourceimages.admin.detail_view import metadata_etag
from sourceimages.operations import change_user_metadata, delete_image, rename_image, set_locked, set_protected
from sourceimages.operations.aliases import set_alias
from sourceimages.operations.update import derive
from tests.sourceimages.admin.conftest import IMAGES_URL, everything, fresh, messages_of, page_of, text_of
from tests.support import images
from tests.support.rows import insert_images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

DOWNLOADERS = {Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ}
WRITERS = {Role.ADMIN, Role.WRITE, Role.IMAGES_WRITE}
READERS = DOWNLOADERS | WRITERS | {Role.IMAGES_READ}


def change(browser, image, action, **fields):
    return browser.post(page_of(image), {"action": action, **fields})


def save(browser, image, *fields, version=None):
    """Submit the metadata form with these fields: name, type, value."""
    sent = {"version": version or metadata_etag(fresh(image))}
    names, types, values = zip(*fields, strict=True) if fields else ((), (), ())
    return change(browser, image, "metadata", field=names, type=types, value=values, **sent)


def offered(browser, image):
    return {kind for kind, _, _ in browser.get(page_of(image)).context["actions"]}


def test_a_damaged_image_says_so(staff, acme, alice):
    content = images.encoded(images.image(160, 120), "PNG")
    alice.upload(acme, content[: len(content) // 2])
    image = acme.images.get()
    assert "The file is damaged: part of the image is missing (rows, " in text_of(staff.get(page_of(image)))


# --- Available actions ------------------------------------------------------------------------------------------------


def test_the_page_offers_applicable_actions(staff, image, alice):
    always = {"copy", "download", "delete"}
    assert offered(staff, image) == always | {"lock", "protect"}
    set_locked(image, True, actor=alice.actor)
    assert offered(staff, image) == always | {"unlock", "protect"}
    set_locked(image, False, actor=alice.actor)
    protected = set_protected(image, True, delete_previous=True, actor=alice.actor).image
    assert offered(staff, protected) == always | {"lock", "unprotect"}
    assert offered(staff, image) == {"restore"}


@pytest.mark.parametrize("role", Role)
def test_users_without_permission_to_write_see_no_forms_and_are_refused(colleague, image, role):
    browser = colleague(role)
    page = browser.get(page_of(image))
    assert page.status_code == (200 if role in READERS else 404)
    if role in READERS:
        for action in ("metadata", "area", "name", "alias"):
            assert (f'name="action" value="{action}"' in text_of(page)) == (role in WRITERS)
    before = everything()
    answers = [
        change(browser, image, "name", name="other.png").status_code,
        save(browser, image, ("year", "int", "1999")).status_code,
        change(browser, image, "area", area="crop_area", x=0, y=0, width=1, height=1).status_code,
        change(browser, image, "alias", alias="cover").status_code,
        change(browser, image, "remove_alias", alias="cover").status_code,
    ]
    expected = 302 if role in WRITERS else 403 if role in READERS else 404
    assert set(answers) == {expected}
    assert (everything() == before) == (role not in WRITERS)


def test_an_unknown_action_is_refused(staff, image):
    before = everything()
    for action in ("", "delete", "__class__"):
        assert change(staff, image, action).status_code == 400
    assert everything() == before


@pytest.mark.parametrize("key", ["0", "999999", "x", "9" * 40, "1%20or%201"])
def test_unknown_images_are_not_found(staff, image, key):
    assert staff.get(f"{IMAGES_URL}{key}/change/").status_code == 404


def test_get_changes_nothing(staff, image):
    before = everything()
    assert staff.get(page_of(image), {"action": "name", "name": "other.png"}).status_code == 200
    assert everything() == before


# --- Names ------------------------------------------------------------------------------------------------------------


def test_renaming(staff, ines, image):
    answer = staff.post(page_of(image), {"action": "name", "name": "<i>quay.png"}, follow=True)
    assert fresh(image).name == "<i>quay.png"
    assert messages_of(answer) == ["Image renamed."]
    assert "<i>quay" not in text_of(answer)
    event = AuditEvent.objects.get(action="image.renamed")
    assert (event.user, event.source, event.details) == (
        ines,
        "staff",
        {"before": "harbour.png", "after": "<i>quay.png"},
    )


@pytest.mark.parametrize("name", ["", "   ", "a" * 600])
def test_bad_names(staff, image, name):
    before = everything()
    answer = change(staff, image, "name", name=name)
    if answer.status_code == 400:
        assert 'role="alert"' in text_of(answer)
        assert everything() == before
    else:
        assert 0 < len(fresh(image).name) <= 500


# --- Metadata ---------------------------------------------------------------------------------------------------------

EVERY_TYPE = [
    ("artist", "str", "Ada <b>"),
    ("caption", "text", "Two\nlines"),
    ("year", "int", "-1999"),
    ("weight", "double", "1.5"),
    ("taken", "date", "2026-03-05T09:30:00Z"),
    ("place", "latlon", "47.38,8.52"),
    ("tags", "array", "one\ntwo words"),
    ("notes", "array_text", "a, b\nc"),
]
STORED = {
    "artist": "Ada <b>",
    "text:caption": "Two\nlines",
    "int:year": -1999,
    "double:weight": 1.5,
    "date:taken": "2026-03-05T09:30:00Z",
    "latlon:place": "47.38,8.52",
    "array:tags": ["one", "two words"],
    "array_text:notes": ["a, b", "c"],
}


def test_every_type_survives_saving_twice(staff, ines, image):
    assert save(staff, image, *EVERY_TYPE).status_code == 302
    assert fresh(image).user_metadata == STORED
    event = AuditEvent.objects.get(action="image.metadata_updated")
    assert (event.user, event.source) == (ines, "staff")
    page = staff.get(page_of(image))
    assert sorted(page.context["fields"]) == sorted(EVERY_TYPE)
    assert "Ada &lt;b&gt;" in text_of(page)
    before = everything()
    texts = [unescape(text) for text in re.findall(r'<textarea name="value"[^>]*>([^<]*)</textarea>', text_of(page))]
    sent = [
        (name, kind, text.replace("\n", "\r\n"))
        for (name, kind, _), text in zip(page.context["fields"], texts, strict=False)
    ]
    assert save(staff, image, *sent).status_code == 302
    assert everything() == before


def test_fields_are_renamed_retyped_and_removed(staff, image, alice):
    change_user_metadata(image, {"int:year": 1999, "artist": "Ada", "array:tags": ["a"]}, actor=alice.actor)
    save(staff, image, ("made", "int", "1999"), ("artist", "text", "Ada"), ("", "str", "nothing"))
    assert fresh(image).user_metadata == {"int:made": 1999, "text:artist": "Ada"}
    save(staff, image)
    assert fresh(image).user_metadata == {}


@pytest.mark.parametrize(
    "fields",
    [
        [("year", "int", "1"), ("year", "int", "2")],
        [("year", "int", "1"), ("year", "str", "1")],
        [("year", "int", "many")],
        [("Year", "int", "1")],
        [("int:year", "str", "1")],
        [("year", "nothing", "1")],
        [("place", "latlon", "here")],
        [("taken", "date", "yesterday")],
        [("long", "str", "x" * 10_001)],
    ],
)
def test_invalid_fields_are_refused_and_stay_in_the_form(staff, image, fields):
    before = everything()
    answer = save(staff, image, *fields)
    assert answer.status_code == 400
    assert answer.context["problem"][0] == "metadata"
    assert answer.context["fields"] == fields
    assert everything() == before


def test_an_incomplete_form_is_refused(staff, image):
    before = everything()
    answer = change(staff, image, "metadata", version=metadata_etag(image), field=["a", "b"], type=["str"], value=["x"])
    assert answer.status_code == 400
    assert everything() == before


def test_a_concurrent_change_is_not_overwritten(staff, image, alice):
    version = metadata_etag(image)
    change_user_metadata(image, {"artist": "Ada"}, actor=alice.actor)
    before = everything()
    answer = save(staff, image, ("artist", "str", "Bob"), version=version)
    assert answer.status_code == 400
    assert "The metadata was changed in the meantime. Reload and try again." in text_of(answer)
    assert answer.context["version"] == version  # submitting the form again is refused, too
    assert everything() == before
    assert save(staff, image, ("artist", "str", "Bob"), version="nonsense").status_code == 400
    assert everything() == before


def test_a_concurrent_rename_is_no_conflict(staff, image, alice):
    version = metadata_etag(image)
    rename_image(image, "quay.png", actor=alice.actor)
    assert save(staff, image, ("artist", "str", "Bob"), version=version).status_code == 302


def test_images_that_are_locked_or_deleted_meanwhile_do_not_change(staff, image, alice):
    set_locked(image, True, actor=alice.actor)
    before = everything()
    area = {"area": "crop_area", "x": 0, "y": 0, "width": 2, "height": 2}
    assert save(staff, image, ("artist", "str", "Bob")).status_code == 400
    for save_as in ("replace", "keep_hash"):
        assert change(staff, image, "area", save_as=save_as, **area).status_code == 400
    assert everything() == before
    set_locked(image, False, actor=alice.actor)
    delete_image(image, actor=alice.actor)
    before = everything()
    assert save(staff, image, ("artist", "str", "Bob")).status_code == 400
    assert change(staff, image, "name", name="other.png").status_code == 400
    for save_as in ("new", "replace", "keep_hash"):
        assert change(staff, image, "area", save_as=save_as, **area).status_code == 400
    assert everything() == before


# --- Areas ------------------------------------------------------------------------------------------------------------

AREA = {"area": "subject_area", "x": "1", "y": "2", "width": "3", "height": "4"}
STORED_AREA = {"x": 1, "y": 2, "width": 3, "height": 4}


def test_an_area_is_saved_as_a_new_image(staff, acme, image):
    answer = change(staff, image, "area", save_as="new", **AREA)
    other = acme.images.active().exclude(pk=image.pk).get()
    assert answer["Location"] == f"{page_of(other)}#area"
    assert other.hash != image.hash
    assert {key: other.dynamic_metadata["subject_area"][key] for key in STORED_AREA} == STORED_AREA
    assert not fresh(image).deleted
    assert fresh(image).dynamic_metadata == {}


def test_an_area_is_saved_as_a_new_image_that_replaces_this_one(staff, acme, image):
    change(staff, image, "area", save_as="replace", **AREA)
    assert fresh(image).deleted
    assert acme.images.active().get().dynamic_metadata["subject_area"]["width"] == 3


def test_an_area_is_saved_on_this_image(staff, ines, acme, image):
    answer = change(staff, image, "area", save_as="keep_hash", **AREA)
    assert answer["Location"] == f"{page_of(image)}#area"
    now = acme.images.get()
    assert (now.hash, now.dynamic_metadata["subject_area"]["height"]) == (image.hash, 4)
    assert AuditEvent.objects.get(action="image.dynamic_metadata_updated").user == ines
    page = staff.get(page_of(image))
    assert page.context["area_values"] == [("x", 1), ("y", 2), ("width", 3), ("height", 4)]
    change(staff, image, "area", save_as="keep_hash", area="subject_area", remove="yes")
    assert acme.images.get().dynamic_metadata == {}


def test_removing_an_area_restores_the_image_without_it(staff, acme, image):
    change(staff, image, "area", save_as="replace", **AREA)
    other = acme.images.active().get()
    change(staff, other, "area", save_as="replace", area="subject_area", remove="yes")
    assert acme.images.active().get().hash == image.hash


def test_areas_are_independent(staff, acme, image):
    change(staff, image, "area", save_as="keep_hash", **AREA)
    change(staff, image, "area", save_as="keep_hash", **(AREA | {"area": "crop_area", "x": "0"}))
    assert {name: area["x"] for name, area in acme.images.get().dynamic_metadata.items()} == {
        "subject_area": 1,
        "crop_area": 0,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "6"},  # the image is 8 by 6 pixels
        {"y": "3"},
        {"width": "9"},
        {"width": "0"},
        {"height": "-1"},
        {"x": "-1"},
        {"x": "1.5"},
        {"x": ""},
        {"x": "nan"},
        {"x": "9" * 30},
        {"area": "multi_areas"},
        {"area": ""},
        {"save_as": "otherwise"},
    ],
)
def test_bad_areas(staff, image, fields):
    for save_as in ("new", "replace", "keep_hash"):
        before = everything()
        answer = change(staff, image, "area", **({"save_as": save_as} | AREA | fields))
        assert answer.status_code == 400
        assert answer.context["problem"][0] == "area"
        assert everything() == before


def test_percentages_are_shown_in_pixels(staff, acme, alice):
    alice.upload(acme, images.png(400, 200), name="large.png")
    area = {"crop_area": {"x": 10, "y": 20, "width": 50, "height": 50, "percentage": True}}
    derived = derive(acme.images.get(), area, protected=False, delete_previous=True, actor=alice.actor).image
    (shown,) = [area for area in staff.get(page_of(derived)).context["areas"] if area["name"] == "crop_area"]
    assert [shown[side] for side in ("x", "y", "width", "height")] == [40, 40, 200, 100]


# --- Aliases ----------------------------------------------------------------------------------------------------------


def test_aliases_are_added_and_removed(staff, ines, acme, image):
    assert change(staff, image, "alias", alias="cover").status_code == 302
    assert acme.aliases.get().hash == image.hash
    assert "cover" in text_of(staff.get(page_of(image)))
    assert change(staff, image, "remove_alias", alias="cover").status_code == 302
    assert not acme.aliases.exists()
    events = AuditEvent.objects.filter(action__startswith="alias.")
    assert {(event.user, event.source) for event in events} == {(ines, "staff")}
    assert len(events) == 2


def test_an_alias_is_reassigned_only_on_request(staff, acme, three, alice):
    set_alias(three[0], "cover", overwrite=False, actor=alice.actor)
    before = everything()
    answer = change(staff, three[1], "alias", alias="cover")
    assert answer.status_code == 400
    assert 'value="cover"' in text_of(answer)
    assert change(staff, three[1], "remove_alias", alias="cover").status_code == 400
    assert everything() == before
    assert change(staff, three[1], "alias", alias="cover", overwrite="yes").status_code == 302
    assert acme.aliases.get().hash == three[1].hash


@pytest.mark.parametrize("alias", ["", "a b", "ä", "<b>", "../x", "a" * 256])
def test_bad_aliases(staff, image, alias):
    before = everything()
    for action in ("alias", "remove_alias"):
        answer = change(staff, image, action, alias=alias)
        assert answer.status_code == 400
        assert "<b>" not in text_of(answer).partition("<main")[2]
    assert everything() == before


# --- Originals --------------------------------------------------------------------------------------------------------


def download(browser, image):
    return browser.get(f"{IMAGES_URL}{image.pk}/download/")


@pytest.mark.parametrize("role", Role)
def test_downloading_originals_requires_permission(colleague, image, alice, role):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    browser = colleague(role)
    assert download(browser, image).status_code == (200 if role in READERS else 404)
    expected = 200 if role in DOWNLOADERS else 403 if role in READERS else 404
    assert download(browser, protected).status_code == expected
    page = browser.get(page_of(protected))
    if role in READERS:
        assert page.context["visible"] == (role in DOWNLOADERS)
        assert ("preview/large/" in text_of(page)) == (role in DOWNLOADERS)


def test_an_original_is_an_attachment_in_a_sandbox(staff, acme, alice):
    alice.upload(acme, images.svg(), name="drawing.svg")
    image = acme.images.get()
    answer = download(staff, image)
    with storage.originals().local_path(image.file.key) as path:
        assert b"".join(answer.streaming_content) == path.read_bytes()
    assert answer["Content-Disposition"].startswith("attachment;")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert "private" in answer["Cache-Control"]


# --- Number of queries ------------------------------------------------------------------------------------------------


def test_the_number_of_queries_is_constant(staff, acme, image, alice):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert staff.get(page_of(image)).status_code == 200
        return len(captured)

    def more(count, first):
        for number in range(first, first + count):
            set_alias(image, f"alias{number}", overwrite=False, actor=alice.actor)
            rename_image(image, f"{number}.png", actor=alice.actor)
            text = {"version": {"text": str(number)}}
            other = derive(image, text, protected=False, delete_previous=False, actor=alice.actor).image
            if number % 2:
                delete_image(other, actor=alice.actor)

    insert_images(acme, 1, first=50, actor=alice.actor)
    more(2, 0)
    queries()
    few = queries()
    more(20, 2)
    assert queries() == few
