"""Bulk actions in the admin: the confirmation page, the job, permissions, and the page to return to."""

import re
import zipfile
from io import BytesIO

import pytest
from django.template.defaultfilters import filesizeformat

from organizations.models import AuditEvent, Job, Membership, User
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, queue, storage
from sourceimages.jobs.bulk_actions import BULK_ACTIONS
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image, set_locked, set_protected
from tests.sourceimages.admin.conftest import (
    BULK_ACTION_URL,
    IMAGES_URL,
    confirm,
    everything,
    fresh,
    inputs,
    logged_in,
    messages_of,
    page_of,
    search_fields,
    selection_fields,
    text_of,
)
from tests.support import images
from tests.support.prepared import prepared
from tests.support.rows import insert_images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

KINDS = [name for name, action in BULK_ACTIONS.items() if action.runs_as_job]
FIELDS = {
    "set_metadata": {"name": "year", "type": "int", "value": "1999"},
    "copy": {"destination": "stage"},
}


def is_applied(kind, image, stage):
    now = fresh(image)
    match kind:
        case "lock" | "unlock":
            return now.locked == (kind == "lock")
        case "protect" | "unprotect":
            same_file = now.organization.images.active().by_binary_hash(now.binary_hash)
            return now.deleted and same_file.get().protected == (kind == "protect")
        case "set_metadata":
            return now.user_metadata == {"int:year": 1999}
        case "delete" | "restore":
            return now.deleted == (kind == "delete")
    return stage.images.active().filter(hash=now.hash).exists()


def submit(browser, rows, kind, **fields):
    """Submit the list with these images selected, which opens the confirmation page."""
    return browser.post(BULK_ACTION_URL, selection_fields(rows, kind, in_trash=kind == "restore", **fields))


# --- The confirmation page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BULK_ACTIONS)
def test_nothing_changes_before_the_action_is_confirmed(staff, stage, three, alice, kind):
    rows = prepared(kind, three, alice.actor)
    before = everything()
    confirmation = submit(staff, rows[:2], kind, **FIELDS.get(kind, {}))
    page = text_of(confirmation)
    assert confirmation.status_code == 200
    assert f"{BULK_ACTIONS[kind].label}: 2 images" in page
    assert rows[0].name in page
    assert rows[2].name not in page
    assert everything() == before


def test_the_confirmation_counts_the_images(staff, three, alice):
    set_locked(three[0], True, actor=alice.actor)
    protected = set_protected(three[1], True, delete_previous=True, actor=alice.actor).image
    confirmation = submit(staff, [three[0], protected, three[2]], "delete")
    size = filesizeformat(sum(image.size for image in three))
    for words in (f"3 images, {size}", "1 locked", "1 protected", "Move to trash: 2 images"):
        assert words in text_of(confirmation)


def test_the_confirmation_shows_thumbnails(staff, three):
    page = text_of(submit(staff, three, "delete"))
    for image in three:
        assert f'src="/admin/sourceimages/sourceimage/{image.pk}/preview/small/"' in page


def test_an_action_that_affects_no_image_cannot_be_confirmed(staff, three, alice):
    for image in three:
        set_locked(image, True, actor=alice.actor)
    assert "disabled" in re.search(r'<button[^>]*name="confirmed"[^>]*>', text_of(submit(staff, three, "delete")))[0]


def test_names_are_escaped(staff, acme, alice):
    alice.upload(acme, images.png(), name="<b>bold.png")
    pages = (submit(staff, acme.images.all(), "lock"), staff.get(page_of(acme.images.get())), staff.get(IMAGES_URL))
    for page in pages:
        assert "&lt;b&gt;bold.png" in text_of(page)
        assert "<b>bold" not in text_of(page)
    response = confirm(staff, submit(staff, acme.images.all(), "lock"))
    assert "<b>bold" not in text_of(response)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"kind": "burn"}, 400),
        ({"kind": ""}, 400),
        ({"ids": []}, 400),
        ({"ids": ["x"]}, 400),
        ({"ids": ["-1"]}, 400),
        ({"ids": ["²"]}, 400),
        ({"ids": ["9" * 30]}, 400),
        ({"ids": [str(number) for number in range(1, 2002)]}, 400),
        ({"in_trash": "yes"}, 400),
        ({"all": "yes", "search": "q=year:["}, 400),
        ({"all": "yes", "search": "size=many"}, 400),
        ({"organization": "missing"}, 404),
        ({"organization": ""}, 404),
    ],
)
def test_invalid_forms_are_refused(staff, three, fields, status):
    before = everything()
    for confirmed in ({}, {"confirmed": "yes"}):
        assert staff.post(BULK_ACTION_URL, selection_fields(three, "delete") | fields | confirmed).status_code == status
    assert everything() == before


def test_get_changes_nothing(staff, three):
    before = everything()
    assert staff.get(BULK_ACTION_URL, selection_fields(three, "delete", confirmed="yes")).status_code == 400
    assert staff.get(IMAGES_URL, selection_fields(three, "delete", confirmed="yes")).status_code == 200
    assert everything() == before


def test_posts_require_the_csrf_token(ines, three):
    browser = logged_in(ines, enforce_csrf_checks=True)
    before = everything()
    assert browser.post(BULK_ACTION_URL, selection_fields(three, "delete", confirmed="yes")).status_code == 403
    assert browser.post(page_of(three[0]), {"action": "name", "name": "other.png"}).status_code == 403
    assert everything() == before


# --- Running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_several_images_are_processed_by_a_job(staff, ines, stage, three, alice, kind):
    rows = prepared(kind, three, alice.actor)
    response = confirm(staff, submit(staff, rows[:2], kind), **FIELDS.get(kind, {}))
    assert [is_applied(kind, image, stage) for image in rows] == [True, True, False]
    job = Job.objects.get()
    assert (job.kind, job.state, job.total, job.processed, job.user, job.source) == (
        kind,
        "succeeded",
        2,
        2,
        ines,
        "staff",
    )
    assert response.redirect_chain == [(IMAGES_URL, 302)]
    (message,) = messages_of(response)
    assert message.startswith(f"{BULK_ACTIONS[kind].label}: 2 ")
    assert page_of(job) in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_image_is_processed_without_a_job(staff, ines, stage, three, alice, kind):
    rows = prepared(kind, three, alice.actor)
    response = confirm(staff, submit(staff, rows[:1], kind), **FIELDS.get(kind, {}))
    assert [is_applied(kind, image, stage) for image in rows] == [True, False, False]
    assert not Job.objects.exists()
    assert response.redirect_chain == [(IMAGES_URL, 302)]
    assert len(messages_of(response)) == 1
    if kind != "copy":
        assert AuditEvent.objects.order_by("pk").last().user == ines


@pytest.mark.parametrize("kind", KINDS)
def test_all_results_of_a_search_are_processed(staff, acme, stage, three, alice, kind):
    rows = prepared(kind, three, alice.actor)
    search = f"q=hash:{rows[0].hash}+OR+hash:{rows[2].hash}"
    in_trash = kind == "restore"
    confirmation = staff.post(BULK_ACTION_URL, search_fields(search, kind, in_trash=in_trash))
    query = f"q: hash:{rows[0].hash} OR hash:{rows[2].hash}"
    assert f"query: <code>{query}</code>" in text_of(confirmation)
    confirm(staff, confirmation, **FIELDS.get(kind, {}))
    assert [is_applied(kind, image, stage) for image in rows] == [True, False, True]
    job = Job.objects.get()
    assert job.params["selection"] == {"in_trash": in_trash, "search": search}
    page = staff.get(f"/admin/organizations/job/{job.pk}/change/")
    assert f"query: {query}" in text_of(page)


def test_many_images_are_processed_by_a_background_job(staff, three, monkeypatch):
    monkeypatch.setattr(queue, "INLINE_LIMIT", 2)
    enqueued = []
    monkeypatch.setattr(queue, "enqueue_job", enqueued.append)
    response = confirm(staff, submit(staff, three, "lock"))
    job = Job.objects.get()
    assert response.redirect_chain == [(page_of(job), 302)]
    assert (job.state, job.processed, enqueued) == ("queued", 0, [job.pk])
    assert not any(fresh(image).locked for image in three)


def test_the_audit_log_has_the_user_and_address(staff, ines, three):
    confirm(staff, submit(staff, three[:1], "delete"))
    event = AuditEvent.objects.get(action="image.deleted")
    assert (event.source, event.user, event.address) == ("staff", ines, "127.0.0.1")
    assert event.request_id
    assert (Tombstone.objects.get().deleted_by, Tombstone.objects.get().reason) == (ines, "admin")
    confirm(staff, submit(staff, three[1:], "delete"))
    events = AuditEvent.objects.filter(action="image.deleted").exclude(pk=event.pk)
    assert {(event.source, event.user, event.address, event.target) for event in events} == {
        ("staff", ines, "127.0.0.1", image.hash) for image in three[1:]
    }


def test_images_deleted_together_are_one_deletion(staff, three):
    confirm(staff, submit(staff, three, "delete"))
    assert Tombstone.objects.get().images.count() == 3


def test_locked_images_are_reported_and_the_others_deleted(staff, three, alice):
    set_locked(three[1], True, actor=alice.actor)
    response = confirm(staff, submit(staff, three, "delete"))
    assert [fresh(image).deleted for image in three] == [True, False, True]
    summary, warning = messages_of(response)
    assert "2 deleted, 1 skipped because locked" in summary
    assert warning == f"{three[1].name}: Image is locked."


def test_an_image_locked_before_confirming_is_not_deleted(staff, three, alice):
    confirmation = submit(staff, three[:1], "delete")
    set_locked(three[0], True, actor=alice.actor)
    before = everything()
    response = confirm(staff, confirmation)
    assert response.status_code == 400
    assert f"Source image {three[0].short_hash} is locked." in text_of(response)
    assert everything() == before


def test_images_deleted_before_confirming_are_reported(staff, three, alice):
    single, several = submit(staff, three[:1], "lock"), submit(staff, three[:2], "lock")
    delete_image(three[0], actor=alice.actor)
    before = everything()
    response = confirm(staff, single)
    assert response.status_code == 400
    assert "The image no longer exists." in text_of(response)
    assert everything() == before
    confirm(staff, several)
    assert Job.objects.get().counts == {"locked": 1, "not_found": 1}
    assert Job.objects.get().state == "succeeded_with_errors"


@pytest.mark.parametrize("kind", ["delete", "lock", "download"])
def test_the_confirmation_is_shown_again_if_other_images_match(staff, acme, three, alice, kind):
    confirmation = staff.post(BULK_ACTION_URL, search_fields("format=png", kind))
    insert_images(acme, 1, first=7, actor=alice.actor)
    before = everything()
    second = confirm(staff, confirmation)
    assert second.status_code == 400
    assert "The selection has changed: 4 images match now." in text_of(second)
    assert f"{BULK_ACTIONS[kind].label}: 4 images" in text_of(second)
    assert everything() == before
    fields = dict.fromkeys(("kind", "organization", "in_trash", "all", "search", "fingerprint"))
    fields |= {name: value for name, value, _ in inputs(second) if name in fields}
    response = staff.post(BULK_ACTION_URL, fields | {"confirmed": "yes"})
    if kind == "download":
        assert len(unpacked(response)) == 4
    else:
        assert (Job.objects.get().total, Job.objects.get().processed) == (4, 4)


def test_a_search_without_the_confirmed_fingerprint_is_refused(staff, three):
    before = everything()
    for fields in ({}, {"fingerprint": "3"}, {"fingerprint": "3-0-0"}):
        assert staff.post(BULK_ACTION_URL, search_fields("", "delete", confirmed="yes", **fields)).status_code == 400
    assert everything() == before


def test_images_uploaded_before_the_job_runs_are_not_deleted(staff, acme, three, alice, monkeypatch):
    monkeypatch.setattr(queue, "INLINE_LIMIT", 2)
    monkeypatch.setattr(queue, "enqueue_job", lambda job_id: None)
    confirm(staff, staff.post(BULK_ACTION_URL, search_fields("format=png", "delete")))
    later = insert_images(acme, 2, first=7, actor=alice.actor)
    job = jobs.run(Job.objects.get().pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 3, 3, {"deleted": 3})
    assert set(acme.images.active()) == set(later)


def test_an_image_whose_hash_is_active_is_not_restored(staff, acme, alice, image):
    delete_image(image, actor=alice.actor)
    alice.upload(acme, images.png(), name="later.png")
    response = confirm(staff, submit(staff, [image], "restore"))
    assert fresh(image).deleted
    assert "Conflicting" in messages_of(response)[0]


# --- Parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Year", "type": "int", "value": "1"},
        {"name": "", "type": "str", "value": "x"},
        {"name": "year", "type": "int", "value": "many"},
        {"name": "year", "type": "nothing", "value": "1"},
        {"name": "place", "type": "latlon", "value": "100,200"},
        {"name": "a:b", "type": "str", "value": "x"},
    ],
)
def test_an_invalid_metadata_field_is_refused_and_shown_again(staff, three, fields):
    for rows in (three, three[:1]):
        confirmation = submit(staff, rows, "set_metadata")
        before = everything()
        response = confirm(staff, confirmation, **fields)
        assert response.status_code == 400
        assert 'class="errornote"' in text_of(response)
        assert f'value="{fields["name"]}"' in text_of(response)
        assert everything() == before


def test_a_metadata_field_is_removed(staff, acme, alice):
    for seed in range(2):
        alice.upload(acme, images.png(seed=seed), **{"meta_user[0]": '{"int:year": 1950, "artist": "Ada"}'})
    confirmation = submit(staff, acme.images.all(), "set_metadata")
    confirm(staff, confirmation, name="year", type="int", value="", remove="yes")
    assert [image.user_metadata for image in acme.images.all()] == [{"artist": "Ada"}] * 2


def test_an_array_has_one_element_per_line(staff, three):
    confirm(staff, submit(staff, three, "set_metadata"), name="tags", type="array", value="harbor\r\n\r\n night \n")
    assert [fresh(image).user_metadata for image in three] == [{"array:tags": ["harbor", "night"]}] * 3


def test_images_are_copied_where_the_user_has_permission(stage_writer, acme, stage, three):
    confirm(stage_writer, submit(stage_writer, three, "copy"), destination="stage")
    assert stage.images.count() == 3


@pytest.mark.parametrize(
    ("destination", "status"), [("", 400), ("acme", 400), ("other", 400), ("missing", 400), ("stage", 400)]
)
def test_images_are_not_copied_elsewhere(colleague, acme, stage, charlie, three, destination, status):
    browser = colleague(Role.WRITE)
    for rows in (three, three[:1]):
        confirmation = submit(browser, rows, "copy")
        assert confirmation.context["confirmation"].form.fields["destination"].choices[1:] == []
        before = everything()
        response = confirm(browser, confirmation, destination=destination)
        assert response.status_code == status
        assert everything() == before


def test_errors_do_not_reveal_whether_a_destination_exists(colleague, acme, charlie, three):
    browser = colleague(Role.WRITE)
    existing, missing = (
        confirm(browser, submit(browser, three, "copy"), destination=name).context["confirmation"].error
        for name in ("other", "missing")
    )
    assert existing.replace("other", "missing") == missing


def test_copying_requires_permission_to_write_at_the_destination(stage_writer, acme, stage, three):
    stage.memberships.filter(user__username="dora").update(roles=[Role.READ])
    before = everything()
    response = confirm(stage_writer, submit(stage_writer, three, "copy"), destination="stage")
    assert response.status_code == 400
    assert everything() == before


# --- ZIP archives -----------------------------------------------------------------------------------------------------


def unpacked(response):
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    assert response["Content-Disposition"] == 'attachment; filename="acme.zip"'
    archive = zipfile.ZipFile(BytesIO(b"".join(response.streaming_content)))
    return {name: archive.read(name) for name in archive.namelist()}


def original(image):
    with storage.originals().local_path(image.file.key) as path:
        return path.read_bytes()


def test_an_archive_contains_the_original_files(staff, three):
    for rows in (three[:2], three[:1]):
        response = staff.post(BULK_ACTION_URL, selection_fields(rows, "download", confirmed="yes"))
        assert unpacked(response) == {f"{image.short_hash}_{image.name}": original(image) for image in rows}


def test_an_archive_lists_files_that_the_user_cannot_download(colleague, staff, three, alice):
    set_protected(three[0], True, delete_previous=True, actor=alice.actor)
    restricted = colleague(Role.IMAGES_READ)
    assert len(unpacked(confirm(staff, staff.post(BULK_ACTION_URL, search_fields("", "download"))))) == 3
    entries = unpacked(confirm(restricted, restricted.post(BULK_ACTION_URL, search_fields("", "download"))))
    assert {name[7:] for name in entries if name != "MISSING.txt"} == {"1.png", "2.png"}
    assert b"0.png\tThe image is protected." in entries["MISSING.txt"]


# --- The page to return to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "back",
    [
        "",
        "https://evil.example.org/",
        "//evil.example.org/",
        "/\\evil.example.org",
        "javascript:alert(1)",
        "@evil.example.org",
        ".evil.example.org",
        "trash:",
        "trash://evil.example.org/",
        "trash:../../../../evil",
        "trash:\r\nSet-Cookie: a=b",
        "?a=b\r\nSet-Cookie: a=b",
        "²",
        "9" * 40,
    ],
)
def test_users_are_redirected_to_the_admin_only(staff, three, back):
    confirmation = submit(staff, three[:1], "lock", back=back)
    assert confirmation.status_code == 200
    assert confirmation.context["confirmation"].cancel_url.startswith("/admin/sourceimages/")
    response = staff.post(BULK_ACTION_URL, selection_fields(three[:1], "lock", back=back, confirmed="yes"))
    assert response.status_code == 302
    assert response["Location"].startswith(("/admin/sourceimages/sourceimage/", "/admin/sourceimages/tombstone/"))
    assert "\n" not in response["Location"]
    assert ".." not in response["Location"]
    assert "Set-Cookie" not in response.headers


def test_users_return_to_the_page_they_came_from(staff, three, alice):
    def location(back):
        return staff.post(BULK_ACTION_URL, selection_fields(three[:1], "lock", back=back, confirmed="yes"))["Location"]

    assert location("?organization=acme&q=0") == f"{IMAGES_URL}?organization=acme&q=0"
    assert location(str(three[0].pk)) == page_of(three[0])
    tombstone = delete_image(three[1], actor=alice.actor)
    assert location(f"trash:{tombstone.pk}") == page_of(tombstone)


def test_users_are_redirected_to_the_image_that_replaces_a_protected_one(staff, acme, three):
    for kind in ("protect", "unprotect"):
        image = acme.images.active().filter(name="0.png").get()
        response = staff.post(BULK_ACTION_URL, selection_fields([image], kind, back=str(image.pk), confirmed="yes"))
        after = acme.images.active().filter(name="0.png").get()
        assert after != image
        assert response["Location"] == page_of(after)


# --- Permissions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_each_role_is_offered_its_actions_and_refused_the_others(colleague, acme, stage, alice, role):
    """Every action also requires permission to read the images."""
    rows = insert_images(acme, len(BULK_ACTIONS) * 2, actor=alice.actor)
    browser, grants = colleague(role), granted([role])
    reads = Permission.IMAGES_READ in grants
    listed = browser.get(IMAGES_URL)
    assert listed.status_code == (200 if reads else 403)
    allowed = {kind for kind, action in BULK_ACTIONS.items() if reads and action.permission in grants}
    if reads:
        active = {kind for kind, _, _ in listed.context["actions"]}
        delete_image(rows.pop(), actor=alice.actor)
        in_trash = {kind for kind, _, _ in browser.get(IMAGES_URL + "?state=trash").context["actions"]}
        assert active == {kind for kind in allowed if kind != "restore"}
        assert in_trash == {kind for kind in allowed if kind == "restore"}
    for kind in BULK_ACTIONS:
        rows = [rows.pop()]
        if kind == "restore":
            delete_image(rows[0], actor=alice.actor)
        sent = {**FIELDS.get(kind, {}), "confirmed": "yes"}
        before = everything()
        if kind in allowed:
            assert submit(browser, rows, kind).status_code == 200
            assert everything() == before
        else:
            for fields in ({}, sent):
                assert submit(browser, rows, kind, **fields).status_code == 403
            assert everything() == before


def test_only_admins_delete_all_images(colleague, acme, three):
    writer, admin = colleague(Role.WRITE), colleague(Role.ADMIN, name="boss")
    before = everything()
    assert writer.post(BULK_ACTION_URL, search_fields("format=png", "delete")).status_code == 200
    for search in ("", "sort=name", "q=", "limit=5", "x="):  # none of these excludes an image
        assert writer.post(BULK_ACTION_URL, search_fields(search, "delete", confirmed="yes")).status_code == 403
    assert everything() == before
    confirm(admin, admin.post(BULK_ACTION_URL, search_fields("", "delete")))
    assert not acme.images.active().exists()


def test_locking_requires_both_reading_and_unlocking(colleague, three):
    confirm(b := colleague(Role.IMAGES_READ, Role.UNLOCK), submit(b, three, "lock"))
    assert all(fresh(image).locked for image in three)


def test_staff_of_other_organizations_find_no_images(outsider, three):
    before = everything()
    for kind in BULK_ACTIONS:
        response = submit(outsider, three, kind, confirmed="yes", **FIELDS.get(kind, {}))
        assert response.status_code == 404
        response = outsider.post(
            BULK_ACTION_URL, selection_fields(three, kind, organization="other", confirmed="yes", destination="x")
        )
        if kind != "download":
            assert response.status_code in (302, 400)
    assert before[0] == everything()[0]


@pytest.mark.parametrize("fields", [{}, {"is_staff": True, "is_active": False}])
def test_users_who_are_not_active_staff_are_redirected_to_the_login(client, alice, three, fields):
    type(alice.user).objects.filter(pk=alice.user.pk).update(**fields)
    client.force_login(alice.user)
    before = everything()
    for kind in BULK_ACTIONS:
        response = submit(client, three, kind, confirmed="yes")
        assert response.headers["Location"].startswith("/admin/login/")
    assert everything() == before


def test_protected_images_are_not_copied_by_staff_who_cannot_download_them(acme, alice, stage, colleague, three):
    browser = colleague(Role.IMAGES_WRITE, name="dora")
    Membership.objects.create(organization=stage, user=User.objects.get(username="dora"), roles=[Role.WRITE])
    secret = set_protected(three[0], True, delete_previous=False, actor=alice.actor).image
    copied = {"confirmed": "yes", "kind": "copy", "destination": "stage", "organization": "acme"}
    assert browser.post(BULK_ACTION_URL, copied | {"ids": [secret.pk]}).status_code == 400
    assert not stage.images.exists()
    browser.post(BULK_ACTION_URL, copied | {"ids": [secret.pk, three[1].pk]})
    assert [image.hash for image in stage.images.all()] == [three[1].hash]


def test_the_trash_does_not_show_the_original_of_a_protected_image(acme, alice, colleague, three):
    browser = colleague(Role.IMAGES_WRITE)
    set_protected(three[0], True, delete_previous=True, actor=alice.actor)
    assert browser.get(f"{IMAGES_URL}{three[0].pk}/download/").status_code == 403
    assert browser.get(f"{IMAGES_URL}{three[0].pk}/preview/large/").headers["Location"].endswith("protected.svg")
    assert "Download original" not in browser.get(f"{IMAGES_URL}{three[0].pk}/change/").content.decode()


def test_the_error_page_of_an_empty_selection_leads_back_to_the_search(staff, image):
    back = "?organization=acme&q=harbour"
    answer = staff.post(BULK_ACTION_URL, {"kind": "delete", "organization": "acme", "in_trash": "no", "back": back})
    assert answer.status_code == 400
    assert "Select at least one image." in text_of(answer)
    assert answer.context["back_url"] == f"{IMAGES_URL}{back}"
    assert answer.context["back_url"].replace("&", "&amp;") in text_of(answer)


@pytest.mark.parametrize("page", ["Image", "Deletion", "Images of acme"])
def test_the_link_back_says_where_it_leads(staff, image, alice, page):
    if page == "Deletion":
        delete_image(image, actor=alice.actor)
    tombstone = Tombstone.objects.first()
    back = {"Image": str(image.pk), "Deletion": f"trash:{tombstone and tombstone.pk}"}.get(page, "?organization=acme")
    kind, in_trash = ("restore", "yes") if tombstone else ("delete", "no")
    fields = {"kind": kind, "organization": "acme", "in_trash": in_trash, "ids": [image.pk], "back": back}
    assert staff.post(BULK_ACTION_URL, fields).context["confirmation"].cancel_label == page
