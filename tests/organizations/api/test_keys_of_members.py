"""The list of members and their keys in all organizations of an admin."""

import pytest

from organizations.api import users
from organizations.models import Membership
from organizations.operations import create_key
from organizations.permissions import Role
from tests.conftest import Person

pytestmark = pytest.mark.any_database

PATH = "/user/admin/apikeys"


@pytest.fixture
def admins(acme, alice):
    """Alice is the only member."""
    Membership.objects.exclude(user=alice.user).delete()
    return alice


def test_an_admin_sees_members_with_their_keys(acme, admins, member):
    bob = member(Role.WRITE)
    row, secret = create_key(bob.user, comment="shop", actor=bob.actor)
    response = admins.api.get(PATH)
    body = response.json()
    assert (body["total"], body["truncated"]) == (2, False)
    item = body["items"][1]
    listed = admins.api.get(f"/organizations/acme/memberships/{bob.user.pk}").json()
    keys = bob.api.get("/user/apikeys").json()
    assert item == listed | {"organization": "acme", "display_name": "acme", "api_keys": item["api_keys"]}
    assert [(key["id"], key["comment"]) for key in item["api_keys"]] == [(key["id"], key["comment"]) for key in keys]
    assert item["api_keys"][1].keys() == keys[1].keys()
    signing_key = acme.signing_keys.get().key
    for text in (secret, row.digest, bob.key, signing_key):
        assert text not in response.content.decode()


def test_all_organizations_of_the_admin_are_listed_by_name(stage, admins, charlie):
    Membership.objects.filter(organization=stage, user=admins.user).update(roles=[Role.ADMIN_READ])
    items = admins.api.get(PATH).json()["items"]
    assert {one["organization"] for one in items} == {"acme", "stage"}
    assert [one["organization"] for one in items] == sorted(one["organization"] for one in items)


@pytest.mark.parametrize("role", [Role.WRITE, Role.IMAGES_WRITE, Role.BILLING_READ])
def test_other_roles_see_no_members(acme, alice, member, role):
    assert member(role).api.get(PATH).json() == {"total": 0, "truncated": False, "items": []}


def test_an_inactive_admin_sees_no_members(acme, alice, member):
    assert member(Role.ADMIN, active=False).api.get(PATH).json()["total"] == 0


def test_a_stranger_sees_only_its_own_organization(admins, charlie):
    items = charlie.api.get(PATH).json()["items"]
    assert [(one["organization"], one["user_id"]) for one in items] == [("other", str(charlie.user.pk))]


def test_a_stranger_who_adds_a_user_sees_neither_its_address_nor_its_keys(admins, charlie):
    """Otherwise anyone could read the comments and addresses of the keys of a user whose ID they know."""
    charlie.api.put(f"/organizations/other/memberships/{admins.user.pk}", {"role": "read"}, format="json")
    added = charlie.api.get(PATH).json()["items"][1]
    assert (added["user_id"], added["email"], added["api_keys"]) == (str(admins.user.pk), "", [])
    admins.api.get("/organizations/other")
    accepted = charlie.api.get(PATH).json()["items"][1]
    assert (accepted["email"], len(accepted["api_keys"])) == ("alice@example.org", 1)


@pytest.mark.parametrize(("name", "limit"), [("MAX_ORGANIZATIONS", 1), ("MAX_MEMBERSHIPS", 2)])
def test_a_long_list_is_truncated(stage, admins, member, monkeypatch, name, limit):
    member(Role.WRITE)
    monkeypatch.setattr(users, name, limit)
    body = admins.api.get(PATH).json()
    assert (body["total"], body["truncated"], len(body["items"])) == (2, True, 2)


def test_the_number_of_queries_does_not_depend_on_the_members(admins, member, django_assert_max_num_queries):
    for number in range(5):
        member(Role.WRITE, email=f"{number}@example.org")
    admins.api.get(PATH)
    with django_assert_max_num_queries(6):
        assert admins.api.get(PATH).json()["total"] == 6


def test_public_users_do_not_see_it(acme, member):
    bob: Person = member(Role.ADMIN, Role.READ)
    assert bob.api.get(PATH).json()["reason"] == "public_user"
