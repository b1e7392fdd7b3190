"""People: their keys, whether they may act, and new ones for the back-office."""

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
    PEOPLE,
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


def at(user):
    return f"{PEOPLE}/{user.pk}/change/"


def test_others_see_themselves_and_nobody_else(admin, sam, alice, charlie):
    told = admin.get(f"{PEOPLE}/").content.decode()
    assert sam.email in told
    assert charlie.user.email not in told
    assert alice.user.email not in told
    assert "New staff" not in told
    there, missing = admin.get(at(alice.user)), admin.get(f"{PEOPLE}/{uuid.uuid4()}/change/")
    assert (there.status_code, without_tokens(there)) == (404, without_tokens(missing))


def test_superusers_see_everybody(boss, alice, charlie):
    told = boss.get(f"{PEOPLE}/").content.decode()
    assert alice.user.email in told
    assert charlie.user.email in told
    assert "acme" in boss.get(at(alice.user)).content.decode()


def test_who_is_no_staff_gets_the_login_page(client, alice):
    client.force_login(alice.user)
    before = everything()
    for address in (f"{PEOPLE}/", f"{PEOPLE}/add/", at(alice.user)):
        for ask in (client.get, lambda address: client.post(address, {"do": "key"})):
            answer = ask(address)
            assert (answer.status_code, answer.headers["Location"][:13]) == (302, "/admin/login/")
    assert everything() == before


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once_and_nowhere_else(admin, sam, acme, log):
    answer = admin.post(at(sam), {"do": "key", "comment": "laptop"})
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    key = secret_of(answer)
    assert Person(sam, key).api.get("/organizations/acme").status_code == 200
    assert at(sam) in str(log.entries)
    assert key not in str(log.entries)
    assert not in_database(key)
    assert key not in carried(admin)
    again = admin.get(at(sam)).content.decode()
    assert "laptop" in again
    assert key not in again
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.source, event.target) == ("api_key.created", sam, "staff", str(sam.pk))


def test_a_key_is_revoked(admin, sam, acme):
    row, key = create_key(sam, comment="", actor=COMMAND)
    assert admin.post(at(sam), {"do": "no-key", "key": str(row.pk)}).status_code == 302
    assert Person(sam, key).api.get("/organizations/acme").status_code == 403
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.target_id) == ("api_key.deleted", sam, str(row.pk))


@pytest.mark.parametrize("key", ["", "x", NUL, LONG, "{alice}"])
def test_a_key_of_others_cannot_be_revoked(admin, sam, alice, key):
    create_key(sam, comment="", actor=COMMAND)
    before = everything()
    sent = key.replace("{alice}", str(alice.user.api_keys.get().pk))
    assert admin.post(at(sam), {"do": "no-key", "key": sent}).status_code == 400
    assert everything() == before


def test_nobody_but_superusers_makes_keys_for_others(admin, boss, root, alice):
    before = everything()
    assert admin.post(at(alice.user), {"do": "key"}).status_code == 404
    assert everything() == before
    assert boss.post(at(alice.user), {"do": "key"}).status_code == 200
    assert AuditEvent.objects.latest("id").user == root


@pytest.mark.parametrize("comment", ["x" * 256, LONG, NUL])
def test_a_comment_that_is_none_makes_no_key(admin, sam, comment):
    before = everything()
    answer = admin.post(at(sam), {"do": "key", "comment": comment})
    assert answer.status_code == 400
    assert answer.context["problem"].startswith("comment:")
    assert everything() == before


def test_there_is_an_end_to_keys(admin, sam):
    for _ in range(ApiKey.MAX_KEYS):
        create_key(sam, comment="", actor=COMMAND)
    before = everything()
    assert admin.post(at(sam), {"do": "key"}).status_code == 400
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_keys_that_are_meant_to_be_public_bring_no_others(acme, role):
    """As in the API: whoever holds such a role, in whatever organization, manages no keys."""
    sue = helper(acme, role, name="sue")
    row, _ = create_key(sue, comment="", actor=COMMAND)
    client, public = logged_in(sue), role in PUBLIC_ROLES
    before = everything()
    assert ("Make a key" in client.get(at(sue)).content.decode()) is not public
    for form in ({"do": "key"}, {"do": "no-key", "key": str(row.pk)}):
        assert (client.post(at(sue), form).status_code == 403) is public
    assert (everything() == before) is public


def test_a_superuser_with_a_public_role_may(boss, root, acme):
    Membership.objects.create(organization=acme, user=root, roles=[Role.READ])
    assert boss.post(at(root), {"do": "key"}).status_code == 200


# --- Who may act ------------------------------------------------------------------------------------------------------


def test_a_superuser_switches_a_person_off_and_on(boss, root, acme, alice):
    for do, active, status, verb in (
        ("deactivate", False, 403, "user.deactivated"),
        ("deactivate", False, 403, "user.deactivated"),  # clicked twice
        ("activate", True, 200, "user.activated"),
    ):
        assert boss.post(at(alice.user), {"do": do}).status_code == 302
        alice.user.refresh_from_db()
        assert alice.user.is_active is active
        assert alice.api.get("/organizations/acme").status_code == status
        event = AuditEvent.objects.filter(target_id=str(alice.user.pk)).latest("id")
        assert (event.action, event.user) == (verb, root)
    assert AuditEvent.objects.filter(action="user.deactivated").count() == 1


@pytest.mark.parametrize("do", ["activate", "deactivate"])
def test_others_switch_nobody_not_even_themselves(admin, sam, alice, do):
    before = everything()
    assert admin.post(at(sam), {"do": do}).status_code == 403
    assert admin.post(at(alice.user), {"do": do}).status_code == 404
    assert everything() == before


def test_a_superuser_does_not_switch_themselves_off(boss, root):
    assert boss.post(at(root), {"do": "deactivate"}).status_code == 403
    root.refresh_from_db()
    assert root.is_active
    assert "Deactivate" not in boss.get(at(root)).content.decode()


def test_the_last_admin_stays_active(boss, charlie):
    before = everything()
    answer = boss.post(at(charlie.user), {"do": "deactivate"})
    assert answer.status_code == 400
    assert "last admin" in answer.context["problem"]
    assert everything() == before


def test_roles_count_as_they_are_once_the_organization_is_held(acme, alice, member, monkeypatch):
    """While we waited, Bob was made the only admin."""
    bob, hold = member(Role.READ), OrganizationQuerySet.get_for_update

    def meanwhile(self, organization):
        held = hold(self, organization)
        acme.memberships.exclude(user=bob.user).delete()
        acme.memberships.update(roles=[Role.ADMIN])
        return held

    monkeypatch.setattr(OrganizationQuerySet, "get_for_update", meanwhile)
    with pytest.raises(LastAdmin):
        set_active(bob.user, False, actor=COMMAND)
    bob.user.refresh_from_db()
    assert bob.user.is_active


def test_a_membership_that_ended_while_we_waited_keeps_nobody(acme, alice, monkeypatch):
    hold = OrganizationQuerySet.get_for_update

    def meanwhile(self, organization):
        held = hold(self, organization)
        acme.memberships.filter(user=alice.user).delete()
        return held

    acme.memberships.exclude(user=alice.user).delete()
    monkeypatch.setattr(OrganizationQuerySet, "get_for_update", meanwhile)
    set_active(alice.user, False, actor=COMMAND)
    alice.user.refresh_from_db()
    assert not alice.user.is_active


def test_a_change_that_there_is_not_is_refused(admin, sam):
    before = everything()
    for do in ("", "switch", NUL):
        assert admin.post(at(sam), {"do": do}).status_code == 400
    assert everything() == before


# --- New staff --------------------------------------------------------------------------------------------------------


def new_staff(client, **changes):
    form = {"username": "nina", "email": "nina@example.org", "password": "purple rivers sing"} | changes
    return client.post(f"{PEOPLE}/add/", form)


def test_a_superuser_adds_somebody_who_can_log_in(boss, root, client, log):
    answer = new_staff(boss, username="n" * 150)
    nina = User.objects.get(username="n" * 150)
    assert (answer.status_code, answer.headers["Location"]) == (302, at(nina))
    assert (nina.is_staff, nina.is_superuser) == (True, False)
    login = {"username": nina.username, "password": "purple rivers sing"}
    assert client.post("/admin/login/?next=/admin/", login).status_code == 302
    assert client.get("/admin/").status_code == 200
    event = AuditEvent.objects.get(action="staff.created")
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
        {"email": "nobody"},
        {"email": f"{LONG}@example.org"},
        {"email": f"{NUL}@example.org"},
        {"password": ""},
        {"password": "short"},
        {"password": "1234567890"},
        {"password": NUL * 10},
        {"password": LONG},
    ],
)
def test_wrong_facts_add_nobody_and_stay_in_the_form(boss, wrong):
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


@pytest.mark.parametrize("role", Role)
def test_only_superusers_add_staff(acme, role):
    client = logged_in(helper(acme, role))
    before = everything()
    assert client.get(f"{PEOPLE}/add/").status_code == 403
    assert new_staff(client).status_code == 403
    assert everything() == before


def test_a_name_is_needed_from_the_terminal_too(db):
    with pytest.raises(InvalidInput):
        create_staff("", "purple rivers sing", email="nina@example.org", actor=COMMAND)
    assert not User.objects.exists()


# --- How much it costs ------------------------------------------------------------------------------------------------


def test_the_list_takes_as_many_queries_for_two_as_for_twenty(boss, queries):
    superuser("second")
    few = queries(boss, f"{PEOPLE}/")
    for i in range(18):
        helper(name=f"s{i}")
    assert queries(boss, f"{PEOPLE}/") == few


def test_a_page_takes_as_many_queries_for_two_memberships_as_for_twenty(boss, sam, charlie, queries):
    def more(first, last):
        for i in range(first, last):
            made = Organization.objects.create(name=f"o{i}", display_name="")
            Membership.objects.create(organization=made, user=sam, roles=[Role.READ])

    more(0, 1)
    few = queries(boss, at(sam))
    more(1, 19)
    assert queries(boss, at(sam)) == few
