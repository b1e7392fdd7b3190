"""Cleaning up after a leaked key: what was made with it is found and undone, and nothing else."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from organizations.audit import COMMAND
from organizations.models import ApiKey, AuditEvent, Job, Membership, Organization, User
from organizations.operations import admin_changes, create_key, effects_of, set_roles
from organizations.permissions import Role
from sourceimages import jobs
from sourceimages.jobs.selection import Selection
from tests.conftest import Person
from tests.support.staff import USERS, everything, helper, logged_in, superuser

pytestmark = pytest.mark.usefixtures("in_process")
MEMBERS = "/organizations/acme/memberships"


def key_of(person: Person) -> ApiKey:
    return ApiKey.objects.get(digest=ApiKey.digest_of(person.key))


def page_of(person: Person) -> str:
    return f"{USERS}/{person.user.pk}/keys/{key_of(person).pk}/revoke/"


def bearer(person: Person) -> APIClient:
    token = person.api.get("/user/apikeys/token").json()["token"]
    return APIClient(headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def leaked(acme, alice) -> Person:
    """A second key of Alice."""
    return Person(alice.user, create_key(alice.user, comment="leaked", actor=COMMAND)[1])


@pytest.fixture
def made(leaked, alice, member):
    """What a thief makes with the key: by themselves, with a token, and with keys made with that."""
    token = bearer(leaked)
    second = Person(leaked.user, token.post("/user/apikeys", {"comment": "second"}, format="json").json()["api_key"])
    third = Person(leaked.user, second.api.post("/user/apikeys", {"comment": "third"}, format="json").json()["api_key"])
    leaked.api.delete(f"/user/apikeys/{key_of(second).pk}")  # so that only the audit log connects the third key
    new = third.api.post(MEMBERS, {"roles": ["admin"]}, format="json").json()
    bob, eve = member(Role.WRITE), member(Role.ADMIN, email="eve@example.org")
    third.api.put(f"{MEMBERS}/{bob.user.pk}", {"roles": ["read"]}, format="json")
    token.delete(f"{MEMBERS}/{eve.user.pk}")
    third.api.put("/organizations/thief", {"billing_email": "t@example.org"}, format="json")
    return {"third": third, "new": new, "bob": bob, "eve": eve}


def roles_in(organization, user_id):
    return list(Membership.objects.filter(organization=organization, user=user_id).values_list("roles", flat=True))


def test_everything_is_found_also_through_tokens_and_deleted_keys(acme, alice, leaked, made):
    effects = effects_of(key_of(leaked).pk)
    new = User.objects.get(pk=made["new"]["user_id"])
    assert effects.keys == [key_of(made["third"]), new.api_keys.get()]
    changed = {one.user: (one.before, one.current) for one in effects.memberships}
    assert changed == {
        new: ((), ("admin",)),
        made["bob"].user: (("write",), ("read",)),
        made["eve"].user: (("admin",), ()),
    }
    assert [one.name for one in effects.organizations] == ["thief"]
    assert not effects_of(key_of(alice).pk)


def test_a_superuser_undoes_all_of_it(acme, alice, leaked, made):
    boss = logged_in(superuser())
    shown = boss.get(page_of(leaked))
    text = shown.content.decode()
    for expected in ("third", "Remove", "Set the roles", "Bring", "thief"):
        assert expected in text
    form = dict.fromkeys(shown.context["confirmation"].form.fields, "on")
    answer = boss.post(page_of(leaked), form | {"confirmed": "yes"}, follow=True)
    assert "Undone: 2 API keys, 3 memberships" in answer.content.decode()
    assert [key.digest for key in alice.user.api_keys.all()] == [ApiKey.digest_of(alice.key)]
    assert roles_in(acme, made["new"]["user_id"]) == []
    assert roles_in(acme, made["bob"].user.pk) == [["write"]]
    assert roles_in(acme, made["eve"].user.pk) == [["admin"]]
    assert {event.source for event in AuditEvent.objects.order_by("-id")[:5]} == {"staff"}


def test_only_what_is_selected_is_undone_and_the_rest_is_named(acme, alice, leaked, made):
    boss = logged_in(superuser())
    path = page_of(leaked)
    answer = boss.post(path, {"confirmed": "yes", f"key-{key_of(made['third']).pk}": "on"}, follow=True)
    assert path in answer.content.decode()
    assert not ApiKey.objects.filter(user=alice.user, comment__in=["leaked", "third"]).exists()
    assert roles_in(acme, made["new"]["user_id"]) == [["admin"]]
    later = boss.get(path)  # of the deleted key
    assert (later.status_code, later.context["title"]) == (200, "Made with a revoked API key")
    boss.post(path, {"confirmed": "yes", f"membership-{acme.pk}-{made['new']['user_id']}": "on"})
    assert roles_in(acme, made["new"]["user_id"]) == []


def test_a_key_can_be_revoked_without_undoing_what_is_preselected(acme, alice, leaked, made):
    browser, page = logged_in(superuser()), page_of(leaked)
    form = browser.get(page).context["confirmation"].form
    fields = {name: "on" for name, field in form.fields.items() if field.initial}
    assert fields
    before = Membership.objects.count(), ApiKey.objects.count()
    browser.post(page, fields | {"only_revoke": "yes"})
    assert (Membership.objects.count(), ApiKey.objects.count()) == (before[0], before[1] - 1)


def test_the_page_of_a_key_that_made_nothing_offers_nothing_to_undo(leaked):
    confirmation = logged_in(superuser()).get(page_of(leaked)).context["confirmation"]
    assert "select what else to undo" not in confirmation.help_text
    assert (confirmation.button, confirmation.alternative) == ("Revoke key", None)


def test_a_job_of_the_key_is_undone(acme, alice, leaked, image):
    selection = Selection(acme, in_trash=False, ids=(image.pk,))
    actor = leaked.actor.__class__("api", user=leaked.user, api_key_id=key_of(leaked).pk)
    job = jobs.run(jobs.start_bulk_action("protect", selection, actor=actor).pk)
    boss, path = logged_in(superuser()), page_of(leaked)
    answer = boss.post(path, {"confirmed": "yes", f"job-{job.pk}": "on"}, follow=True)
    assert "Undone: 1 job" in answer.content.decode()
    undone = jobs.run(Job.objects.get(kind="undo").pk)
    assert (undone.source, undone.counts) == ("staff", {"undone": 1})
    assert acme.images.active().get().hash == image.hash
    assert "undone already" in boss.get(path).content.decode()


def test_an_unfinished_job_is_cancelled(acme, alice, leaked, image):
    selection = Selection(acme, in_trash=False, ids=(image.pk,))
    actor = leaked.actor.__class__("api", user=leaked.user, api_key_id=key_of(leaked).pk)
    job = jobs.start_bulk_action("protect", selection, actor=actor)
    logged_in(superuser()).post(page_of(leaked), {"confirmed": "yes", f"job-{job.pk}": "on"})
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_the_last_admin_stays_and_the_page_says_so(acme, alice, leaked, made):
    new = made["new"]["user_id"]
    Membership.objects.filter(organization=acme).exclude(user=new).delete()
    boss = logged_in(superuser())
    assert "last admin: make another user an admin first" in boss.get(page_of(leaked)).content.decode()
    answer = boss.post(page_of(leaked), {"confirmed": "yes", f"membership-{acme.pk}-{new}": "on"}, follow=True)
    assert "last admin" in answer.content.decode()
    assert roles_in(acme, new) == [["admin"]]


def test_staff_undo_only_what_their_roles_allow(acme, charlie):
    """Sam's key added a member to acme, where Sam is no admin any more."""
    sam = helper(acme, Role.ADMIN)
    person = Person(sam, create_key(sam, comment="", actor=COMMAND)[1])
    new = person.api.post(MEMBERS, {"roles": ["write"]}, format="json").json()["user_id"]
    person.api.post("/user/apikeys", {"comment": "own"}, format="json")
    set_roles(acme, sam.pk, [Role.WRITE], comment=None, actor=COMMAND)
    browser, path = logged_in(sam), page_of(person)
    names = set(browser.get(path).context["confirmation"].form.fields)
    assert names == {f"key-{sam.api_keys.get(comment='own').pk}"}
    forged = {f"membership-{acme.pk}-{new}": "on", f"key-{ApiKey.objects.get(user=new).pk}": "on"}
    browser.post(path, forged | {"confirmed": "yes"})
    assert roles_in(acme, new) == [["write"]]
    assert ApiKey.objects.filter(user=new).exists()


def test_looking_at_the_page_changes_nothing(acme, alice, leaked, made):
    boss = logged_in(superuser())
    before = everything()
    assert boss.get(page_of(leaked)).status_code == 200
    assert everything() == before


# --- The command ------------------------------------------------------------------------------------------------------


def run(name, *arguments, **options) -> str:
    out = io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, stderr=out, **options)
    return out.getvalue()


def test_the_command_lists_and_undoes(acme, alice, leaked, made):
    key = key_of(leaked).pk
    before = everything()
    listed = run("delete_api_key", key, undo=True, dry_run=True)
    assert "third" in listed
    assert "Organization thief" in listed
    assert everything() == before
    with pytest.raises(CommandError, match="Not a terminal"):
        run("delete_api_key", key)
    assert everything() == before
    assert "API key deleted." in run("delete_api_key", key, yes=True)
    assert roles_in(acme, made["eve"].user.pk) == []
    assert "Undone: 2 API keys, 3 memberships." in run("delete_api_key", key, undo=True, yes=True)
    assert alice.user.api_keys.count() == 1
    assert roles_in(acme, made["eve"].user.pk) == [["admin"]]
    assert roles_in(acme, made["new"]["user_id"]) == []


def test_a_dry_run_tells_the_numbers_of_the_real_one(acme, alice, leaked, made):
    owner = acme.memberships.order_by("id").first().user
    alice.api.put(f"{MEMBERS}/{owner.pk}", {"roles": ["read"]}, format="json")
    key = str(key_of(leaked).pk)
    for command in (["restore_admins", "acme", "--yes"], ["delete_api_key", key, "--undo", "--yes"]):
        told, done = (json.loads(printed(*command, "--json", *option)) for option in (["--dry-run"], []))
        assert (told.pop("dry_run"), done.pop("dry_run")) == (True, False)
        assert told == done != {}


def printed(*command: str) -> str:
    out = io.StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def test_the_command_names_the_last_admin_and_ends_with_3(acme, leaked, made):
    new = made["new"]["user_id"]
    Membership.objects.filter(organization=acme).exclude(user=new).update(active=False)
    with pytest.raises(SystemExit) as ended:
        run("delete_api_key", key_of(leaked).pk, undo=True, yes=True)
    assert ended.value.code == 3
    assert roles_in(acme, new) == [["admin"]]


def test_only_what_was_made_since_then_is_undone(acme, leaked, made):
    listed = run("delete_api_key", key_of(leaked).pk, since="2099", dry_run=True)
    assert "Nothing that can be undone" in listed


@pytest.mark.parametrize("arguments", [["x"], ["00000000-0000-0000-0000-000000000000"]])
def test_an_unknown_key_is_named(db, arguments):
    with pytest.raises(CommandError):
        run("delete_api_key", *arguments, yes=True)


# --- The API ----------------------------------------------------------------------------------------------------------


def test_the_user_of_the_key_sees_what_it_made(acme, alice, leaked, made):
    key = key_of(leaked).pk
    alice.api.delete(f"/user/apikeys/{key}")
    data = alice.api.get(f"/user/apikeys/{key}/effects").json()
    assert data["api_keys"][0]["id"] == str(key_of(made["third"]).pk)
    assert {one["user_id"]: (one["roles_before"], one["roles"]) for one in data["memberships"]} == {
        made["new"]["user_id"]: ([], ["admin"]),
        str(made["bob"].user.pk): (["write"], ["read"]),
        str(made["eve"].user.pk): (["admin"], []),
    }
    assert [one["name"] for one in data["organizations"]] == ["thief"]


def test_a_stranger_and_a_former_admin_do_not(acme, alice, leaked, made, charlie):
    path = f"/user/apikeys/{key_of(leaked).pk}/effects"
    answer = charlie.api.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "key_not_found")
    set_roles(acme, made["eve"].user.pk, [Role.ADMIN], comment=None, actor=COMMAND)
    set_roles(acme, alice.user.pk, [Role.WRITE], comment=None, actor=COMMAND)
    assert alice.api.get(path).json()["memberships"] == []


# --- Removed admins ---------------------------------------------------------------------------------------------------


def test_a_removed_admin_comes_back_with_one_command(acme, alice, leaked, made):
    eve, bob = made["eve"].user, made["bob"].user
    owner = acme.memberships.order_by("id").first().user
    alice.api.put(f"{MEMBERS}/{owner.pk}", {"roles": ["read"]}, format="json")
    before = everything()
    listed = run("restore_admins", "acme", dry_run=True)
    assert (str(eve.pk) in listed, str(owner.pk) in listed, str(bob.pk) in listed) == (True, True, False)
    with pytest.raises(CommandError, match="Not a terminal"):
        run("restore_admins", "acme")
    assert everything() == before
    run("restore_admins", "acme", str(eve.pk), yes=True)
    assert (roles_in(acme, eve.pk), roles_in(acme, owner.pk)) == ([["admin"]], [["read"]])
    run("restore_admins", "acme", yes=True)
    assert roles_in(acme, owner.pk) == [["admin"]]
    assert AuditEvent.objects.latest("id").source == "command"
    with pytest.raises(CommandError, match="No removed admin"):
        run("restore_admins", "acme", yes=True)


def test_new_and_removed_admins_are_on_the_dashboard_for_a_week(acme, alice, leaked, made, charlie):
    sam, stranger = helper(acme, Role.ADMIN_READ), helper(Organization.objects.get(name="other"), Role.ADMIN, name="x")
    pages = ("/admin/", f"/admin/organizations/organization/{acme.pk}/members/")
    for path in pages:
        text = logged_in(sam).get(path).content.decode()
        assert "New and removed admins" in text
        assert str(made["eve"].user.pk) in text  # no longer a member, so that the email is hidden
        assert "eve@example.org" not in text
        assert "no longer an admin" in text
        assert "new admin" in text
        assert f"key {str(key_of(leaked).pk)[:8]}…, token" in text
    assert "eve@example.org" in logged_in(superuser()).get(pages[0]).content.decode()
    assert "New and removed" not in logged_in(stranger).get(pages[0]).content.decode()
    assert "New and removed" not in logged_in(helper(acme, Role.WRITE, name="w")).get(pages[0]).content.decode()
    assert "bob@example.org" not in logged_in(sam).get(pages[0]).content.decode()


def test_after_a_week_they_are_not(acme, alice, leaked, made, monkeypatch):
    monkeypatch.setattr(admin_changes, "SHOWN_FOR", timedelta(seconds=-1))
    assert "New and removed" not in logged_in(superuser()).get("/admin/").content.decode()
