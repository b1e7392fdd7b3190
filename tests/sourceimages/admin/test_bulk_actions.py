"""Acts on many pictures: shown first, confirmed once, done by the same operations as the API."""

import re
import zipfile
from io import BytesIO

import pytest
from django.template.defaultfilters import filesizeformat

from organizations.models import AuditEvent, Job, Membership, User
from organizations.permissions import Permission, Role, granted
from sourceimages import jobs, storage, tasks
from sourceimages.jobs.bulk_actions import BULK_ACTIONS
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image, set_locked, set_protected
from tests.sourceimages.admin.conftest import (
    ACT,
    PICTURES,
    chosen,
    confirm,
    everything,
    found,
    fresh,
    inputs,
    logged_in,
    page_of,
    text_of,
    told,
    uploaded,
)
from tests.support import images
from tests.support.prepared import prepared

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

MANY = [kind for kind in BULK_ACTIONS if kind != "download"]
FIELDS = {
    "set_metadata": {"name": "year", "type": "int", "value": "1999"},
    "copy": {"destination": "stage"},
}


def is_done(kind, image, stage):
    now = fresh(image)
    match kind:
        case "lock" | "unlock":
            return now.locked == (kind == "lock")
        case "protect" | "unprotect":
            alike = now.organization.images.active().by_binary_hash(now.binary_hash)
            return now.deleted and alike.get().protected == (kind == "protect")
        case "set_metadata":
            return now.user_metadata == {"int:year": 1999}
        case "delete" | "restore":
            return now.deleted == (kind == "delete")
    return stage.images.active().filter(hash=now.hash).exists()


def ask(browser, rows, kind, **fields):
    return browser.post(ACT, chosen(rows, kind, in_trash=kind == "restore", **fields))


# --- Asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BULK_ACTIONS)
def test_nothing_happens_before_somebody_confirms(staff, stage, three, alice, kind):
    pictures = prepared(kind, three, alice.actor)
    before = everything()
    question = ask(staff, pictures[:2], kind, **FIELDS.get(kind, {}))
    page = text_of(question)
    assert question.status_code == 200
    assert f"{BULK_ACTIONS[kind].label}: 2 images" in page
    assert pictures[0].name in page
    assert pictures[2].name not in page
    assert everything() == before


def test_the_question_counts_what_it_is_about(staff, three, alice):
    set_locked(three[0], True, actor=alice.actor)
    protected = set_protected(three[1], True, delete_previous=True, actor=alice.actor).image
    question = ask(staff, [three[0], protected, three[2]], "delete")
    size = filesizeformat(sum(image.size for image in three))
    for words in (f"3 images, {size}", "1 locked", "1 protected", "Move to trash: 2 images"):
        assert words in text_of(question)


def test_the_question_shows_what_it_is_about(staff, three):
    page = text_of(ask(staff, three, "delete"))
    for image in three:
        assert f'src="/admin/sourceimages/sourceimage/{image.pk}/preview/small/"' in page


def test_a_question_about_nothing_cannot_be_confirmed(staff, three, alice):
    for image in three:
        set_locked(image, True, actor=alice.actor)
    assert "disabled" in re.search(r'<button[^>]*name="confirmed"[^>]*>', text_of(ask(staff, three, "delete")))[0]


def test_names_are_shown_as_they_are(staff, acme, alice):
    alice.upload(acme, images.png(), name="<b>bold.png")
    for rows in (ask(staff, acme.images.all(), "lock"), staff.get(page_of(acme.images.get())), staff.get(PICTURES)):
        assert "&lt;b&gt;bold.png" in text_of(rows)
        assert "<b>bold" not in text_of(rows)
    answer = confirm(staff, ask(staff, acme.images.all(), "lock"))
    assert "<b>bold" not in text_of(answer)


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
        ({"organization": "nobody"}, 404),
        ({"organization": ""}, 404),
    ],
)
def test_what_makes_no_sense_is_refused(staff, three, fields, status):
    before = everything()
    for confirmed in ({}, {"confirmed": "yes"}):
        assert staff.post(ACT, chosen(three, "delete") | fields | confirmed).status_code == status
    assert everything() == before


def test_get_changes_nothing(staff, three):
    before = everything()
    assert staff.get(ACT, chosen(three, "delete", confirmed="yes")).status_code == 400
    assert staff.get(PICTURES, chosen(three, "delete", confirmed="yes")).status_code == 200
    assert everything() == before


def test_a_post_from_elsewhere_is_refused(ines, three):
    strict = logged_in(ines, enforce_csrf_checks=True)
    before = everything()
    assert strict.post(ACT, chosen(three, "delete", confirmed="yes")).status_code == 403
    assert strict.post(page_of(three[0]), {"action": "name", "name": "other.png"}).status_code == 403
    assert everything() == before


# --- Doing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MANY)
def test_several_are_done_by_a_job(staff, ines, stage, three, alice, kind):
    pictures = prepared(kind, three, alice.actor)
    answer = confirm(staff, ask(staff, pictures[:2], kind), **FIELDS.get(kind, {}))
    assert [is_done(kind, image, stage) for image in pictures] == [True, True, False]
    job = Job.objects.get()
    assert (job.kind, job.state, job.total, job.processed, job.user, job.source) == (
        kind,
        "succeeded",
        2,
        2,
        ines,
        "staff",
    )
    assert answer.redirect_chain == [(PICTURES, 302)]
    (message,) = told(answer)
    assert message.startswith(f"{BULK_ACTIONS[kind].label}: 2 ")
    assert page_of(job) in message


@pytest.mark.parametrize("kind", MANY)
def test_one_is_done_at_once(staff, ines, stage, three, alice, kind):
    pictures = prepared(kind, three, alice.actor)
    answer = confirm(staff, ask(staff, pictures[:1], kind), **FIELDS.get(kind, {}))
    assert [is_done(kind, image, stage) for image in pictures] == [True, False, False]
    assert not Job.objects.exists()
    assert answer.redirect_chain == [(PICTURES, 302)]
    assert len(told(answer)) == 1
    if kind != "copy":
        assert AuditEvent.objects.order_by("pk").last().user == ines


@pytest.mark.parametrize("kind", MANY)
def test_all_that_match_are_done(staff, acme, stage, three, alice, kind):
    pictures = prepared(kind, three, alice.actor)
    search = f"q=hash:{pictures[0].hash}+OR+hash:{pictures[2].hash}"
    in_trash = kind == "restore"
    question = staff.post(ACT, found(search, kind, in_trash=in_trash))
    legible = f"q: hash:{pictures[0].hash} OR hash:{pictures[2].hash}"
    assert f"query: <code>{legible}</code>" in text_of(question)
    confirm(staff, question, **FIELDS.get(kind, {}))
    assert [is_done(kind, image, stage) for image in pictures] == [True, False, True]
    job = Job.objects.get()
    assert job.params["selection"] == {"in_trash": in_trash, "search": search}
    page = staff.get(f"/admin/organizations/job/{job.pk}/change/")
    assert f"query <code>{legible}</code>" in text_of(page)


def test_many_are_done_by_a_job_that_somebody_watches(staff, three, monkeypatch):
    monkeypatch.setattr(tasks, "INLINE_LIMIT", 2)
    hurried = []
    monkeypatch.setattr(tasks, "enqueue_job", hurried.append)
    answer = confirm(staff, ask(staff, three, "lock"))
    job = Job.objects.get()
    assert answer.redirect_chain == [(page_of(job), 302)]
    assert (job.state, job.processed, hurried) == ("queued", 0, [job.pk])
    assert not any(fresh(image).locked for image in three)


def test_the_trail_says_who_it_was(staff, ines, three):
    confirm(staff, ask(staff, three[:1], "delete"))
    event = AuditEvent.objects.get(action="image.deleted")
    assert (event.source, event.user, event.address) == ("staff", ines, "127.0.0.1")
    assert event.request_id
    assert (Tombstone.objects.get().deleted_by, Tombstone.objects.get().reason) == (ines, "admin")
    confirm(staff, ask(staff, three[1:], "delete"))
    events = AuditEvent.objects.filter(action="image.deleted").exclude(pk=event.pk)
    assert {(one.source, one.user, one.address, one.target) for one in events} == {
        ("staff", ines, "127.0.0.1", image.hash) for image in three[1:]
    }


def test_several_deleted_together_are_one_act_in_the_trash(staff, three):
    confirm(staff, ask(staff, three, "delete"))
    assert Tombstone.objects.get().images.count() == 3


def test_what_is_locked_is_told_and_the_others_are_deleted(staff, three, alice):
    set_locked(three[1], True, actor=alice.actor)
    answer = confirm(staff, ask(staff, three, "delete"))
    assert [fresh(image).deleted for image in three] == [True, False, True]
    assert "2 deleted, 1 locked" in told(answer)[0]
    assert "Image is locked." in told(answer)


def test_what_is_locked_meanwhile_stays(staff, three, alice):
    question = ask(staff, three[:1], "delete")
    set_locked(three[0], True, actor=alice.actor)
    before = everything()
    answer = confirm(staff, question)
    assert answer.status_code == 400
    assert f"Source image {three[0].short_hash} is locked." in text_of(answer)
    assert everything() == before


def test_what_is_deleted_meanwhile_is_told(staff, three, alice):
    alone, two = ask(staff, three[:1], "lock"), ask(staff, three[:2], "lock")
    delete_image(three[0], actor=alice.actor)
    before = everything()
    answer = confirm(staff, alone)
    assert answer.status_code == 400
    assert "This image no longer exists." in text_of(answer)
    assert everything() == before
    confirm(staff, two)
    assert Job.objects.get().counts == {"locked": 1, "not_found": 1}
    assert Job.objects.get().state == "succeeded_with_errors"


@pytest.mark.parametrize("kind", ["delete", "lock", "download"])
def test_the_question_is_asked_again_if_other_images_match_by_then(staff, acme, three, alice, kind):
    question = staff.post(ACT, found("format=png", kind))
    uploaded(alice, acme, 1, first=7)
    before = everything()
    again = confirm(staff, question)
    assert again.status_code == 400
    assert "The selection has changed: 4 images match now." in text_of(again)
    assert f"{BULK_ACTIONS[kind].label}: 4 images" in text_of(again)
    assert everything() == before
    fields = dict.fromkeys(("kind", "organization", "in_trash", "all", "search", "shown"))
    fields |= {name: value for name, value, _ in inputs(again) if name in fields}
    answer = staff.post(ACT, fields | {"confirmed": "yes"})
    if kind == "download":
        assert len(unpacked(answer)) == 4
    else:
        assert (Job.objects.get().total, Job.objects.get().processed) == (4, 4)


def test_a_search_is_not_acted_upon_before_its_result_was_shown(staff, three):
    before = everything()
    for shown in ({}, {"shown": "3"}, {"shown": "3-0-0"}):
        assert staff.post(ACT, found("", "delete", confirmed="yes", **shown)).status_code == 400
    assert everything() == before


def test_only_confirmed_images_are_deleted_whatever_comes_before_the_job_is_done(
    staff, acme, three, alice, monkeypatch
):
    monkeypatch.setattr(tasks, "INLINE_LIMIT", 2)
    monkeypatch.setattr(tasks, "enqueue_job", lambda job_id: None)
    confirm(staff, staff.post(ACT, found("format=png", "delete")))
    later = uploaded(alice, acme, 2, first=7)
    job = jobs.run(Job.objects.get().pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 3, 3, {"deleted": 3})
    assert set(acme.images.active()) == set(later)


def test_of_two_that_are_alike_one_is_restored(staff, acme, alice, image):
    delete_image(image, actor=alice.actor)
    alice.upload(acme, images.png(), name="later.png")
    answer = confirm(staff, ask(staff, [image], "restore"))
    assert fresh(image).deleted
    assert "Conflicting" in told(answer)[0]


# --- What else is asked for -------------------------------------------------------------------------------------------


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
def test_a_bad_field_is_refused_and_what_was_typed_stays(staff, three, fields):
    for rows in (three, three[:1]):
        question = ask(staff, rows, "set_metadata")
        before = everything()
        answer = confirm(staff, question, **fields)
        assert answer.status_code == 400
        assert 'class="errornote"' in text_of(answer)
        assert f'value="{fields["name"]}"' in text_of(answer)
        assert everything() == before


def test_a_field_is_removed(staff, acme, alice):
    for seed in range(2):
        alice.upload(acme, images.png(seed=seed), **{"meta_user[0]": '{"int:year": 1950, "artist": "Ada"}'})
    question = ask(staff, acme.images.all(), "set_metadata")
    confirm(staff, question, name="year", type="int", value="", remove="yes")
    assert [image.user_metadata for image in acme.images.all()] == [{"artist": "Ada"}] * 2


def test_an_array_comes_a_line_each(staff, three):
    confirm(staff, ask(staff, three, "set_metadata"), name="tags", type="array", value="harbour\r\n\r\n night \n")
    assert [fresh(image).user_metadata for image in three] == [{"array:tags": ["harbour", "night"]}] * 3


def test_copies_go_where_somebody_may_write(stage_writer, acme, stage, three):
    confirm(stage_writer, ask(stage_writer, three, "copy"), destination="stage")
    assert stage.images.count() == 3


@pytest.mark.parametrize(
    ("destination", "status"), [("", 400), ("acme", 400), ("other", 400), ("nobody", 400), ("stage", 400)]
)
def test_copies_go_nowhere_else(colleague, acme, stage, charlie, three, destination, status):
    browser = colleague(Role.WRITE)
    for rows in (three, three[:1]):
        question = ask(browser, rows, "copy")
        assert question.context["confirmation"].form.fields["destination"].choices[1:] == []
        before = everything()
        answer = confirm(browser, question, destination=destination)
        assert answer.status_code == status
        assert everything() == before


def test_another_organization_is_refused_as_one_that_is_not_there(colleague, acme, charlie, three):
    browser = colleague(Role.WRITE)
    there, not_there = (
        confirm(browser, ask(browser, three, "copy"), destination=name).context["confirmation"].error
        for name in ("other", "nobody")
    )
    assert there.replace("other", "nobody") == not_there


def test_reading_the_destination_is_not_enough(stage_writer, acme, stage, three):
    stage.memberships.filter(user__username="dora").update(roles=[Role.READ])
    before = everything()
    answer = confirm(stage_writer, ask(stage_writer, three, "copy"), destination="stage")
    assert answer.status_code == 400
    assert everything() == before


# --- Archives ---------------------------------------------------------------------------------------------------------


def unpacked(answer):
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
    assert answer["Content-Disposition"] == 'attachment; filename="acme.zip"'
    archive = zipfile.ZipFile(BytesIO(b"".join(answer.streaming_content)))
    return {name: archive.read(name) for name in archive.namelist()}


def original(image):
    with storage.originals().local_path(image.file.key) as path:
        return path.read_bytes()


def test_an_archive_holds_the_originals(staff, three):
    for rows in (three[:2], three[:1]):
        answer = staff.post(ACT, chosen(rows, "download", confirmed="yes"))
        assert unpacked(answer) == {f"{image.short_hash}_{image.name}": original(image) for image in rows}


def test_an_archive_names_what_somebody_may_not_have(colleague, staff, three, alice):
    set_protected(three[0], True, delete_previous=True, actor=alice.actor)
    restricted = colleague(Role.IMAGES_READ)
    assert len(unpacked(confirm(staff, staff.post(ACT, found("", "download"))))) == 3
    entries = unpacked(confirm(restricted, restricted.post(ACT, found("", "download"))))
    assert {name[7:] for name in entries if name != "MISSING.txt"} == {"1.png", "2.png"}
    assert b"0.png\tIt is protected" in entries["MISSING.txt"]


# --- Where one is led afterwards --------------------------------------------------------------------------------------


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
def test_one_is_led_back_into_the_back_office_only(staff, three, back):
    question = ask(staff, three[:1], "lock", back=back)
    assert question.status_code == 200
    assert question.context["confirmation"].cancel_url.startswith("/admin/sourceimages/")
    answer = staff.post(ACT, chosen(three[:1], "lock", back=back, confirmed="yes"))
    assert answer.status_code == 302
    assert answer["Location"].startswith(("/admin/sourceimages/sourceimage/", "/admin/sourceimages/tombstone/"))
    assert "\n" not in answer["Location"]
    assert ".." not in answer["Location"]
    assert "Set-Cookie" not in answer.headers


def test_one_is_led_back_to_where_one_was(staff, three, alice):
    def led(back):
        return staff.post(ACT, chosen(three[:1], "lock", back=back, confirmed="yes"))["Location"]

    assert led("?organization=acme&q=0") == f"{PICTURES}?organization=acme&q=0"
    assert led(str(three[0].pk)) == page_of(three[0])
    tombstone = delete_image(three[1], actor=alice.actor)
    assert led(f"trash:{tombstone.pk}") == page_of(tombstone)


def test_one_goes_on_with_the_picture_that_it_is_now(staff, acme, three):
    for kind in ("protect", "unprotect"):
        image = acme.images.active().filter(name="0.png").get()
        answer = staff.post(ACT, chosen([image], kind, back=str(image.pk), confirmed="yes"))
        after = acme.images.active().filter(name="0.png").get()
        assert after != image
        assert answer["Location"] == page_of(after)


# --- Who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_each_role_is_offered_what_it_may_do_and_refused_the_rest(colleague, acme, stage, alice, role):
    """A person who may not read pictures can do nothing to them here, whatever else is granted."""
    pictures = uploaded(alice, acme, len(BULK_ACTIONS) * 2)
    browser, grants = colleague(role), granted([role])
    reads = Permission.IMAGES_READ in grants
    listed = browser.get(PICTURES)
    assert listed.status_code == (200 if reads else 403)
    allowed = {kind for kind, act in BULK_ACTIONS.items() if reads and act.permission in grants}
    if reads:
        living = {kind for kind, _, _ in listed.context["acts"]}
        delete_image(pictures.pop(), actor=alice.actor)
        in_trash = {kind for kind, _, _ in browser.get(PICTURES + "?state=trash").context["acts"]}
        assert living == {kind for kind in allowed if kind != "restore"}
        assert in_trash == {kind for kind in allowed if kind == "restore"}
    for kind in BULK_ACTIONS:
        rows = [pictures.pop()]
        if kind == "restore":
            delete_image(rows[0], actor=alice.actor)
        sent = {**FIELDS.get(kind, {}), "confirmed": "yes"}
        before = everything()
        if kind in allowed:
            assert ask(browser, rows, kind).status_code == 200
            assert everything() == before
        else:
            for fields in ({}, sent):
                assert ask(browser, rows, kind, **fields).status_code == 403
            assert everything() == before


def test_only_admins_delete_everything_at_once(colleague, acme, three):
    writer, admin = colleague(Role.WRITE), colleague(Role.ADMIN, name="boss")
    before = everything()
    assert writer.post(ACT, found("format=png", "delete")).status_code == 200
    for search in ("", "sort=name", "q=", "limit=5", "x="):  # none of these leaves anything out
        assert writer.post(ACT, found(search, "delete", confirmed="yes")).status_code == 403
    assert everything() == before
    confirm(admin, admin.post(ACT, found("", "delete")))
    assert not acme.images.active().exists()


def test_both_a_reader_and_an_unlocker_may_lock(colleague, three):
    confirm(b := colleague(Role.IMAGES_READ, Role.UNLOCK), ask(b, three, "lock"))
    assert all(fresh(image).locked for image in three)


def test_staff_who_are_not_members_find_nothing(outsider, three):
    before = everything()
    for kind in BULK_ACTIONS:
        answer = ask(outsider, three, kind, confirmed="yes", **FIELDS.get(kind, {}))
        assert answer.status_code == 404
        answer = outsider.post(ACT, chosen(three, kind, organization="other", confirmed="yes", destination="x"))
        if kind != "download":
            assert answer.status_code in (302, 400)
    assert before[0] == everything()[0]


@pytest.mark.parametrize("fields", [{}, {"is_staff": True, "is_active": False}])
def test_others_get_nowhere(client, alice, three, fields):
    type(alice.user).objects.filter(pk=alice.user.pk).update(**fields)
    client.force_login(alice.user)
    before = everything()
    for kind in BULK_ACTIONS:
        answer = ask(client, three, kind, confirmed="yes")
        assert answer.headers["Location"].startswith("/admin/login/")
    assert everything() == before


def test_a_protected_image_is_not_copied_by_staff_who_may_not_download_it(acme, alice, stage, colleague, three):
    browser = colleague(Role.IMAGES_WRITE, name="dora")
    Membership.objects.create(organization=stage, user=User.objects.get(username="dora"), roles=[Role.WRITE])
    secret = set_protected(three[0], True, delete_previous=False, actor=alice.actor).image
    copied = {"confirmed": "yes", "kind": "copy", "destination": "stage", "organization": "acme"}
    assert browser.post(ACT, copied | {"ids": [secret.pk]}).status_code == 400
    assert not stage.images.exists()
    browser.post(ACT, copied | {"ids": [secret.pk, three[1].pk]})
    assert [one.hash for one in stage.images.all()] == [three[1].hash]


def test_the_trash_shows_no_twin_of_a_protected_image(acme, alice, colleague, three):
    browser = colleague(Role.IMAGES_WRITE)
    set_protected(three[0], True, delete_previous=True, actor=alice.actor)
    assert browser.get(f"{PICTURES}{three[0].pk}/download/").status_code == 403
    assert browser.get(f"{PICTURES}{three[0].pk}/preview/large/").headers["Location"].endswith("protected.svg")
    assert "Download original" not in browser.get(f"{PICTURES}{three[0].pk}/change/").content.decode()
