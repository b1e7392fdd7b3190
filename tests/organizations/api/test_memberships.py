"""Members and their roles; an organization never loses its last admin."""

import uuid

import pytest

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Membership, User
from organizations.operations import create_user
from organizations.permissions import Role
from tests.conftest import Person

pytestmark = pytest.mark.any_database

MEMBERS = "/organizations/acme/memberships"


@pytest.fixture
def admins(acme, alice):
    """Alice is the only admin."""
    Membership.objects.exclude(user=alice.user).delete()
    return alice


@pytest.fixture
def dora(db):
    new = create_user("dora@example.org", actor=COMMAND)
    return Person(new.user, new.api_key)


def put(person, user, **body):
    return person.api.put(f"{MEMBERS}/{user.pk}", body, format="json")


def test_members_are_listed(admins, member):
    bob = member(Role.WRITE, Role.UNLOCK)
    body = admins.api.get(MEMBERS).json()
    assert body["total"] == 2
    assert [(one["email"], one["roles"], one["active"]) for one in body["items"]] == [
        ("alice@example.org", ["admin"], True),
        ("bob@example.org", ["write", "sourceimages:unlock"], True),
    ]
    assert admins.api.get(f"{MEMBERS}/{bob.user.pk}").json() == body["items"][1]
    assert set(body["items"][1]) == {
        "user_id",
        "email",
        "organization_id",
        "roles",
        "active",
        "created",
        "last_access",
        "comment",
    }


def test_a_member_sees_its_own_membership(admins, member):
    bob = member(Role.WRITE)
    own = bob.api.get(f"{MEMBERS}/current")
    assert (own.status_code, own.json()["email"], own.json()["roles"]) == (200, "bob@example.org", ["write"])
    assert own.json() == admins.api.get(f"{MEMBERS}/{bob.user.pk}").json()


def test_the_key_of_a_public_user_sees_its_roles_without_the_address(admins, member):
    bob = member(Role.READ)
    own = bob.api.get(f"{MEMBERS}/current").json()
    assert (own["user_id"], own["roles"], own["email"]) == (str(bob.user.pk), ["read"], "")


def test_a_stranger_has_no_current_membership(admins, charlie):
    response = charlie.api.get(f"{MEMBERS}/current")
    assert (response.status_code, response.json()["reason"]) == (403, "not_a_member")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_current_membership_is_only_read(admins, method):
    assert admins.api.generic(method, f"{MEMBERS}/current", b'{"role": "read"}').status_code == 405
    assert Membership.objects.get(user=admins.user).roles == ["admin"]


def test_a_new_user_becomes_a_member_with_a_key(admins):
    response = admins.api.post(MEMBERS, {"roles": ["write"], "comment": "shop"}, format="json")
    assert response.status_code == 201
    body = response.json()
    assert (body["email"], body["roles"], body["comment"]) == ("alice@example.org", ["write"], "shop")
    user = User.objects.get(pk=body["user_id"])
    assert Person(user, body["api_key"]).api.get("/sourceimages/acme").status_code == 200
    assert "api_key" not in admins.api.get(f"{MEMBERS}/{user.pk}").json()


def test_roles_are_set_changed_and_unchanged(admins, dora):
    added = put(admins, dora.user, roles=["read"], comment="shop")
    assert (added.status_code, added.json()["roles"], added.json()["comment"]) == (201, ["read"], "shop")
    changed = put(admins, dora.user, roles=["write", "WRITE", "Upload"])
    assert (changed.status_code, changed.json()["roles"], changed.json()["comment"]) == (
        200,
        ["write", "upload"],
        "shop",
    )
    unchanged = put(admins, dora.user, roles=["write", "upload"], comment="shop")
    assert (unchanged.status_code, unchanged.content) == (204, b"")
    assert "Content-Type" not in unchanged.headers
    older = put(admins, dora.user, role="read")
    assert (older.status_code, older.json()["roles"]) == (200, ["read"])
    cleared = put(admins, dora.user, roles=["read"], comment=None)
    assert (cleared.status_code, cleared.json()["comment"]) == (200, None)


def test_a_role_can_be_sent_in_both_forms_at_once(admins, dora):
    assert put(admins, dora.user, role="read", roles=["READ"]).json()["roles"] == ["read"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"roles": []},
        {"roles": ["boss"]},
        {"roles": [""]},
        {"roles": "write"},
        {"roles": [7, None]},
        {"roles": ["write"], "comment": "x" * 300},
        {"roles": {"a": "write"}},
        {"role": "boss"},
        {"role": "read", "roles": ["admin"]},
        {"role": "read", "roles": ["read", "write"]},
    ],
)
def test_unknown_roles_are_refused(admins, dora, body):
    before = list(Membership.objects.values("user", "roles", "comment"))
    assert put(admins, dora.user, **body).status_code == 400
    assert admins.api.post(MEMBERS, body, format="json").status_code == 400
    assert list(Membership.objects.values("user", "roles", "comment")) == before
    assert User.objects.filter(email="alice@example.org").count() == 2  # Alice, and the user who created acme


@pytest.mark.parametrize("user_id", ["alice@example.org", "nobody", "7", str(uuid.UUID(int=7))])
def test_an_unknown_user_is_not_found(admins, user_id):
    for method in ("GET", "PUT", "DELETE"):
        response = admins.api.generic(method, f"{MEMBERS}/{user_id}", b'{"roles": ["read"]}')
        assert response.status_code == 404
        assert response.json()["error"]["reason"] in ("membership_not_found", "user_not_found")


def test_a_member_is_removed_once(admins, member):
    bob = member(Role.WRITE)
    assert admins.api.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 204
    assert bob.api.get("/sourceimages/acme").json()["error"]["reason"] == "not_a_member"
    assert bob.api.get("/user").status_code == 200
    assert admins.api.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 404


def test_the_last_admin_stays(admins, member):
    member(Role.ADMIN, email="gone@example.org", active=False)
    User.objects.filter(pk=member(Role.ADMIN, email="out@example.org").user.pk).update(is_active=False)
    for response in (put(admins, admins.user, roles=["write"]), admins.api.delete(f"{MEMBERS}/{admins.user.pk}")):
        assert (response.status_code, response.json()["error"]["reason"]) == (409, "last_admin")
    assert Membership.objects.get(user=admins.user).roles == ["admin"]
    other = member(Role.ADMIN, email="new@example.org")
    assert put(other, admins.user, roles=["write"]).status_code == 200


def test_every_change_is_logged_with_before_and_after(admins, dora):
    put(admins, dora.user, roles=["read"], comment="shop")
    put(admins, dora.user, roles=["write"])
    put(admins, dora.user, roles=["write"])
    admins.api.delete(f"{MEMBERS}/{dora.user.pk}")
    events = AuditEvent.objects.filter(target=str(dora.user.pk), action__startswith="membership").order_by("id")
    assert [(event.action, event.details) for event in events] == [
        ("membership.created", {"after": {"roles": ["read"], "comment": "shop"}}),
        (
            "membership.updated",
            {"before": {"roles": ["read"], "comment": "shop"}, "after": {"roles": ["write"], "comment": "shop"}},
        ),
        ("membership.deleted", {"before": {"roles": ["write"]}}),
    ]
    key = admins.user.api_keys.get().pk
    assert {(event.user_id, event.api_key_id, event.address) for event in events} == {
        (admins.user.pk, key, "127.0.0.1")
    }
