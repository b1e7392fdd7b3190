"""Users in the admin: API keys, activation, and adding staff users."""

import uuid

import pytest

from organizations.audit import COMMAND
from organizations.errors import LastAdmin
from organizations.models import ApiKey, AuditEvent, Membership, Organization, OrganizationQuerySet, User
from organizations.operations import create_key, create_staff, set_active
from organizations.permissions import PUBLIC_ROLES, Role
from rokka.core.errors import InvalidInput
from tests.conftest import Person
from tests.support.staff import (
    LONG,
    NUL,
    USERS,
    carried,
    everything,
    helper,
    in_database,
    logged_in,
    secret_of,
    superuser,
    without_tokens,
)

pytestmark = pytest.mark.any_database


def page_of(user):
    return f"{USERS}/{user.pk}/change/"


def revoke_page(user, key_id):
    return f"{USERS}/{user.pk}/keys/{key_id}/revoke/"


def test_staff_users_see_only_themselves(admin, sam, alice, charlie):
    text = admin.get(f"{USERS}/").content.decode()
    assert sam.email in text
    assert charlie.user.email not in text
    assert alice.user.email not in text
    assert "Add staff user" not in text
    existing, missing = admin.get(page_of(alice.user)), admin.get(f"{USERS}/{uuid.uuid4()}/change/")
    assert (existing.status_code, without_tokens(existing)) == (404, without_tokens(missing))


def test_superusers_see_all_users(boss, alice, charlie):
    text = boss.get(f"{USERS}/").content.decode()
    assert alice.user.email in text
    assert charlie.user.email in text
    assert "acme" in boss.get(page_of(alice.user)).content.decode()


def test_users_are_filtered_by_access(boss, root, sam, alice, charlie):
    User.objects.filter(pk=charlie.user.pk).update(is_active=False)
    found = {}
    for access in ("superuser", "admin", "API only", "disabled"):
        listed = boss.get(f"{USERS}/", {"access": access})
        found[access] = {user.pk for user in listed.context["cl"].result_list}
        assert f">{access}</span>" in listed.content.decode()
    assert root.pk in found["superuser"]
    assert sam.pk in found["admin"]
    assert alice.user.pk in found["API only"]
    assert found["disabled"] == {charlie.user.pk}
    assert sum(map(len, found.values())) == User.objects.count()


def test_users_who_are_not_staff_get_the_login_page(client, alice):
    client.force_login(alice.user)
    before = everything()
    for address in (f"{USERS}/", f"{USERS}/add/", page_of(alice.user)):
        for ask in (client.get, lambda address: client.post(address, {"action": "create_key"})):
            answer = ask(address)
            assert (answer.status_code, answer.headers["Location"][:13]) == (302, "/admin/login/")
    assert everything() == before


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once_and_nowhere_else(admin, sam, acme, log):
    answer = admin.post(page_of(sam), {"action": "create_key", "comment": "laptop"})
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    key = secret_of(answer)
    assert Person(sam, key).api.get("/organizations/acme").status_code == 200
    assert page_of(sam) in str(log.entries)
    assert key not in str(log.entries)
    assert not in_database(key)
    assert key not in carried(admin)
    again = admin.get(page_of(sam)).content.decode()
    assert "laptop" in again
    assert key not in again
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.source, event.target) == ("api_key.created", sam, "staff", str(sam.pk))


def test_a_key_is_revoked(admin, sam, acme):
    row, key = create_key(sam, comment="", actor=COMMAND)
    assert revoke_page(sam, row.pk) in admin.get(page_of(sam)).content.decode()
    assert admin.get(revoke_page(sam, row.pk)).status_code == 200
    assert sam.api_keys.exists()
    assert admin.post(revoke_page(sam, row.pk), {"confirmed": "yes"}).status_code == 302
    assert Person(sam, key).api.get("/organizations/acme").status_code == 403
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.target_id) == ("api_key.deleted", sam, str(row.pk))


def test_keys_of_other_users_cannot_be_revoked(admin, sam, alice):
    create_key(sam, comment="", actor=COMMAND)
    key = alice.user.api_keys.get().pk
    before = everything()
    for user, sent in ((sam, key), (alice.user, key), (sam, uuid.uuid4())):
        for answer in (admin.get(revoke_page(user, sent)), admin.post(revoke_page(user, sent), {"confirmed": "yes"})):
            assert answer.status_code == 404
            assert "alice@" not in answer.content.decode()
    assert everything() == before


def test_only_superusers_create_keys_for_others(admin, boss, root, alice):
    before = everything()
    assert admin.post(page_of(alice.user), {"action": "create_key"}).status_code == 404
    assert everything() == before
    assert boss.post(page_of(alice.user), {"action": "create_key"}).status_code == 200
    assert AuditEvent.objects.latest("id").user == root


@pytest.mark.parametrize("comment", ["x" * 256, LONG, NUL])
def test_an_invalid_comment_creates_no_key(admin, sam, comment):
    before = everything()
    answer = admin.post(page_of(sam), {"action": "create_key", "comment": comment})
    assert answer.status_code == 400
    assert answer.context["problem"].lower().startswith("comment:")
    assert everything() == before


def test_the_number_of_keys_is_limited(admin, sam):
    for _ in range(ApiKey.MAX_KEYS):
        create_key(sam, comment="", actor=COMMAND)
    before = everything()
    assert admin.post(page_of(sam), {"action": "create_key"}).status_code == 400
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_users_with_public_keys_cannot_manage_keys(acme, role):
    """As in the API: a public role in any organization prevents managing keys."""
    sue = helper(acme, role, name="sue")
    row, _ = create_key(sue, comment="", actor=COMMAND)
    client, public = logged_in(sue), role in PUBLIC_ROLES
    before = everything()
    assert ("Create API key" in client.get(page_of(sue)).content.decode()) is not public
    for path in (page_of(sue), revoke_page(sue, row.pk)):
        assert (client.post(path, {"action": "create_key"}).status_code == 403) is public
    assert (everything() == before) is public


def test_superusers_with_a_public_role_can_manage_keys(boss, root, acme):
    Membership.objects.create(organization=acme, user=root, roles=[Role.READ])
    assert boss.post(page_of(root), {"action": "create_key"}).status_code == 200


# --- Activation -------------------------------------------------------------------------------------------------------


def test_a_superuser_deactivates_and_activates_a_user(boss, root, acme, alice):
    for action, active, status, recorded in (
        ("deactivate", False, 403, "user.deactivated"),
        ("deactivate", False, 403, "user.deactivated"),  # clicked twice
        ("activate", True, 200, "user.activated"),
    ):
        assert boss.post(page_of(alice.user), {"action": action}).status_code == 302
        alice.user.refresh_from_db()
        assert alice.user.is_active is active
        assert alice.api.get("/organizations/acme").status_code == status
        event = AuditEvent.objects.filter(target_id=str(alice.user.pk)).latest("id")
        assert (event.action, event.user) == (recorded, root)
    assert AuditEvent.objects.filter(action="user.deactivated").count() == 1


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_only_superusers_activate_or_deactivate_users(admin, sam, alice, action):
    before = everything()
    assert admin.post(page_of(sam), {"action": action}).status_code == 403
    assert admin.post(page_of(alice.user), {"action": action}).status_code == 404
    assert everything() == before


def test_superusers_cannot_deactivate_themselves(boss, root):
    assert boss.post(page_of(root), {"action": "deactivate"}).status_code == 403
    root.refresh_from_db()
    assert root.is_active
    assert "Deactivate" not in boss.get(page_of(root)).content.decode()


def test_the_last_admin_stays_active(boss, charlie):
    before = everything()
    answer = boss.post(page_of(charlie.user), {"action": "deactivate"})
    assert answer.status_code == 400
    assert "last admin" in answer.context["problem"]
    assert everything() == before


def test_the_last_admin_is_determined_under_the_lock(acme, alice, member, monkeypatch):
    """Bob becomes the only admin while the operation waits for the lock."""
    bob, get_for_update = member(Role.READ), OrganizationQuerySet.get_for_update

    def meanwhile(self, organization):
        locked = get_for_update(self, organization)
        acme.memberships.exclude(user=bob.user).delete()
        acme.memberships.update(roles=[Role.ADMIN])
        return locked

    monkeypatch.setattr(OrganizationQuerySet, "get_for_update", meanwhile)
    with pytest.raises(LastAdmin):
        set_active(bob.user, False, actor=COMMAND)
    bob.user.refresh_from_db()
    assert bob.user.is_active


def test_a_membership_deleted_while_waiting_for_the_lock_does_not_count(acme, alice, monkeypatch):
    get_for_update = OrganizationQuerySet.get_for_update

    def meanwhile(self, organization):
        locked = get_for_update(self, organization)
        acme.memberships.filter(user=alice.user).delete()
        return locked

    acme.memberships.exclude(user=alice.user).delete()
    monkeypatch.setattr(OrganizationQuerySet, "get_for_update", meanwhile)
    set_active(alice.user, False, actor=COMMAND)
    alice.user.refresh_from_db()
    assert not alice.user.is_active


def test_an_unknown_action_is_refused(admin, sam):
    before = everything()
    for action in ("", "switch", NUL):
        assert admin.post(page_of(sam), {"action": action}).status_code == 400
    assert everything() == before


# --- Adding staff users -----------------------------------------------------------------------------------------------


def new_staff(client, **changes):
    form = {"username": "nina", "email": "nina@example.org", "password": "purple rivers sing"} | changes
    return client.post(f"{USERS}/add/", form)


def test_a_superuser_adds_a_staff_user_who_can_log_in(boss, root, client, log):
    answer = new_staff(boss, username="n" * 150)
    nina = User.objects.get(username="n" * 150)
    assert (answer.status_code, answer.headers["Location"]) == (302, page_of(nina))
    assert (nina.is_staff, nina.is_superuser) == (True, False)
    login = {"username": nina.username, "password": "purple rivers sing"}
    assert client.post("/admin/login/?next=/admin/", login).status_code == 302
    assert client.get("/admin/").status_code == 200
    event = AuditEvent.objects.get(action="user.created")
    assert (event.user, event.target_id) == (root, str(nina.pk))
    assert "purple" not in str(log.entries) + carried(boss)
    assert not in_database("purple rivers")


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": "root"},
        {"username": ""},
        {"username": "n" * 151},
        {"username": LONG},
        {"username": NUL},
        {"email": ""},
        {"email": "invalid"},
        {"email": f"{LONG}@example.org"},
        {"email": f"{NUL}@example.org"},
        {"password": ""},
        {"password": "short"},
        {"password": "1234567890"},
        {"password": NUL * 10},
        {"username": "nina.schmidt", "password": "schmidt.nina"},
        {"email": "photographer@example.org", "password": "Photographer9"},
        {"password": LONG},
    ],
)
def test_invalid_input_adds_no_user_and_stays_in_the_form(boss, wrong):
    before = everything()
    answer = new_staff(boss, **wrong)
    assert answer.status_code == 400
    assert answer.context["problem"]
    assert everything() == before
    form = answer.content.decode()
    sent = {"username": "nina", "email": "nina@example.org"} | wrong
    assert f'name="username" value="{sent["username"]}"' in form
    assert f'name="email" type="email" value="{sent["email"]}"' in form
    assert "purple" not in form


@pytest.mark.parametrize(("new", "status"), [("root.example", 200), ("root@example", 200), ("purple rivers", 302)])
def test_a_new_password_must_not_be_similar_to_name_and_email(boss, root, new, status):
    form = {"old_password": "a long password", "new_password1": new, "new_password2": new}
    response = boss.post("/admin/password_change/", form)
    root.refresh_from_db()
    assert response.status_code == status
    assert root.check_password(new) is (status == 302)


@pytest.mark.parametrize("role", Role)
def test_only_superusers_add_staff(acme, role):
    client = logged_in(helper(acme, role))
    before = everything()
    assert client.get(f"{USERS}/add/").status_code == 403
    assert new_staff(client).status_code == 403
    assert everything() == before


def test_the_operation_requires_a_username(db):
    with pytest.raises(InvalidInput):
        create_staff("", "purple rivers sing", email="nina@example.org", actor=COMMAND)
    assert not User.objects.exists()


# --- Number of queries ------------------------------------------------------------------------------------------------


def test_the_list_takes_as_many_queries_for_two_as_for_twenty(boss, queries):
    superuser("second")
    few = queries(boss, f"{USERS}/")
    for i in range(18):
        helper(name=f"s{i}")
    assert queries(boss, f"{USERS}/") == few


def test_a_page_takes_as_many_queries_for_two_memberships_as_for_twenty(boss, sam, charlie, queries):
    def more(first, last):
        for i in range(first, last):
            made = Organization.objects.create(name=f"o{i}", display_name="")
            Membership.objects.create(organization=made, user=sam, roles=[Role.READ])

    more(0, 1)
    few = queries(boss, page_of(sam))
    more(1, 19)
    assert queries(boss, page_of(sam)) == few
