"""An admin who adds a user as a member gains nothing and takes nothing from it until the user accepts."""

import pytest

from organizations.audit import COMMAND, staff_actor
from organizations.auth.consent import is_public
from organizations.models import AuditEvent, Membership, User
from organizations.operations import set_roles
from organizations.permissions import Role
from tests.conftest import Person
from tests.support.staff import everything, logged_in, page

OTHER = "/organizations/other/memberships"


@pytest.fixture
def invite(charlie):
    """Charlie, an admin of `other`, gives a user these roles there."""

    def make(person: Person, *roles: str) -> int:
        answer = charlie.api.put(f"{OTHER}/{person.user.pk}", {"roles": list(roles)}, format="json")
        return int(answer.status_code)

    return make


def membership(person: Person) -> Membership:
    return Membership.objects.get(user=person.user, organization__name="other")


def copied_to_other(person: Person, image: object) -> tuple[int, str]:
    answer = person.api.generic("COPY", f"/sourceimages/acme/{image.hash}", headers={"Destination": "other"})
    return answer.status_code, answer.json().get("reason", "")


# Information


def test_an_address_is_not_shown_to_a_stranger_before_the_user_comes(charlie, alice, invite):
    assert invite(alice, Role.READ) == 201
    assert charlie.api.get(f"{OTHER}/{alice.user.pk}").json()["email"] == ""
    assert [one["email"] for one in charlie.api.get(OTHER).json()["items"]] == ["charlie@example.org", ""]
    assert alice.api.get("/sourceimages/other").status_code == 200
    assert charlie.api.get(f"{OTHER}/{alice.user.pk}").json()["email"] == "alice@example.org"


def test_an_address_is_not_in_the_answer_that_adds_its_user(charlie, alice):
    answer = charlie.api.put(f"{OTHER}/{alice.user.pk}", {"roles": ["read"]}, format="json")
    assert answer.json()["email"] == ""


def test_staff_of_a_stranger_do_not_see_it_either(charlie, alice, invite):
    User.objects.filter(pk=charlie.user.pk).update(is_staff=True)
    browser, other = logged_in(User.objects.get(pk=charlie.user.pk)), membership(charlie).organization
    form = {"action": "add", "who": str(alice.user.pk), "roles": ["write"]}
    shown = browser.post(page(other, "members"), form, follow=True).content.decode()
    shown += browser.get("/admin/organizations/membership/").content.decode()
    shown += browser.get(f"/admin/organizations/membership/{membership(alice).pk}/change/").content.decode()
    assert str(alice.user.pk) in shown
    assert "alice@example.org" not in shown
    found = browser.get("/admin/organizations/membership/?q=alice@example").content.decode()
    assert str(alice.user.pk) not in found


# Rights


@pytest.mark.parametrize("role", [Role.READ, Role.UPLOAD, Role.IMAGES_READ])
def test_a_public_role_from_a_stranger_does_not_lock_a_user_out_of_the_account(alice, invite, role):
    invite(alice, role)
    assert alice.api.get("/user").json()["email"] == "alice@example.org"
    assert alice.api.get("/organizations/other").status_code == 200
    assert alice.api.post("/user/apikeys", {}, format="json").status_code == 201


def test_a_user_without_any_organization_keeps_the_account(db, charlie, invite):
    dora = Person(User.objects.create(email="dora@example.org"), "")
    invite(dora, Role.READ)
    assert not is_public(dora.user)


def test_a_public_user_gets_no_account_from_a_stranger(member, invite):
    """Otherwise anyone who finds the key in a web page could create keys of that user."""
    bob = member(Role.READ)
    invite(bob, Role.ADMIN)
    assert bob.api.get("/organizations/other").status_code == 200
    assert bob.api.get("/user").json() == {"user_id": str(bob.user.pk)}
    assert bob.api.post("/user/apikeys", {}, format="json").status_code == 403
    assert bob.user.api_keys.count() == 1
    assert membership(bob).accepted_at is None


def test_roles_that_change_later_make_no_account_either(member, charlie, invite):
    bob = member(Role.WRITE)
    invite(bob, Role.READ)
    bob.api.get("/organizations/other")
    set_roles(bob.user.memberships.get(organization__name="acme").organization, bob.user.pk, [Role.READ],
              comment=None, actor=COMMAND)  # fmt: skip
    assert is_public(bob.user)
    assert invite(bob, Role.WRITE) == 200
    assert is_public(bob.user)


def test_the_only_organization_of_a_user_decides_whether_it_is_public(acme, alice, member):
    bob = member(Role.READ)
    for roles, public in (([Role.WRITE], False), ([Role.READ], True), ([Role.WRITE], False)):
        alice.api.put(f"/organizations/acme/memberships/{bob.user.pk}", {"roles": roles}, format="json")
        assert is_public(bob.user) is public


def test_more_rights_of_a_user_with_an_account_take_nothing(acme, alice, member, invite):
    bob = member(Role.WRITE)
    invite(bob, Role.READ)
    bob.api.get("/organizations/other")
    alice.api.put(f"/organizations/acme/memberships/{bob.user.pk}", {"roles": ["admin"]}, format="json")
    assert not is_public(bob.user)


# Destinations of copies


def test_a_key_gets_no_new_destination_from_a_stranger(image, alice, invite):
    invite(alice, Role.WRITE)
    assert copied_to_other(alice, image) == (403, "membership_not_accepted")
    many = {"headers": {"Destination": "other"}, "format": "json"}
    assert alice.api.post("/sourceimages/acme/copy", [image.hash], **many).status_code == 403
    job = alice.api.post("/jobs/acme", {"kind": "copy_all", "destination": "other"}, format="json")
    assert (job.status_code, job.json()["reason"]) == (403, "membership_not_accepted")
    assert not membership(alice).organization.images.exists()
    assert (membership(alice).accepted_at, membership(alice).last_access) == (None, None)
    assert alice.api.get("/organizations/other").status_code == 200
    assert copied_to_other(alice, image) == (201, "")


def test_the_key_of_a_public_user_never_gets_one(image, member, invite):
    bob = member(Role.READ)
    invite(bob, Role.WRITE)
    for _ in range(2):
        assert copied_to_other(bob, image) == (403, "membership_not_accepted")
        assert bob.api.get("/sourceimages/other").status_code == 200
    assert not membership(bob).organization.images.exists()


def test_staff_get_no_new_destination_before_they_have_been_there(image, charlie, acme):
    sam = User.objects.create(username="sam", email="sam@example.org", is_staff=True)
    Membership.objects.create(organization=acme, user=sam, roles=[Role.WRITE])
    other = membership(charlie).organization
    answer = charlie.api.put(f"{OTHER}/{sam.pk}", {"roles": ["write"]}, format="json")
    assert answer.status_code == 201
    browser = logged_in(sam)
    form = {"kind": "copy", "organization": "acme", "ids": [image.pk]}
    act = "/admin/sourceimages/sourceimage/bulk-action/"
    assert 'value="other"' not in browser.post(act, form).content.decode()
    refused = browser.post(act, form | {"confirmed": "yes", "destination": "other"})
    assert refused.status_code in (400, 403)
    assert not other.images.exists()
    browser.get(page(other, "usage"))
    assert 'value="other"' in browser.post(act, form).content.decode()


@pytest.mark.parametrize("by", ["command", "superuser", "themselves"])
def test_what_operators_and_users_do_themselves_needs_no_consent(image, alice, charlie, by, member):
    other = membership(charlie).organization
    if by == "themselves":
        made = alice.api.put("/organizations/third", {"billing_email": "a@example.org"}, format="json")
        assert made.status_code == 201
        answer = alice.api.generic("COPY", f"/sourceimages/acme/{image.hash}", headers={"Destination": "third"})
        assert answer.status_code == 201
        return
    root = User.objects.create_superuser("root", "a long password", email="root@example.org")
    set_roles(other, alice.user.pk, [Role.WRITE], comment=None, actor=COMMAND if by == "command" else staff_actor(root))
    assert copied_to_other(alice, image) == (201, "")


def test_a_user_who_was_made_for_a_membership_has_nothing_to_accept(image, alice, stage):
    new = alice.api.post("/organizations/acme/memberships", {"roles": ["write"]}, format="json").json()
    assert new["email"] == "alice@example.org"
    assert Membership.objects.get(user=new["user_id"]).accepted_at is not None


# Leaving


def test_a_member_can_leave(alice, charlie, invite):
    invite(alice, Role.READ)
    assert alice.api.delete(f"{OTHER}/{alice.user.pk}").status_code == 204
    assert not Membership.objects.filter(user=alice.user, organization__name="other").exists()
    event = AuditEvent.objects.get(action="membership.left")
    assert (event.organization.name, event.user, event.target) == ("other", alice.user, str(alice.user.pk))
    assert charlie.api.get(f"{OTHER}/{alice.user.pk}").status_code == 404


def test_a_member_cannot_remove_others(member, alice):
    bob = member(Role.WRITE)
    bob.api.get("/sourceimages/acme")  # which updates `accessed` of the key and `last_access` of the membership
    before = everything()
    answer = bob.api.delete(f"/organizations/acme/memberships/{alice.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (403, "role_missing")
    assert everything() == before


def test_the_last_admin_cannot_leave(charlie):
    answer = charlie.api.delete(f"{OTHER}/{charlie.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (409, "last_admin")
    assert Membership.objects.filter(user=charlie.user).exists()


def test_the_key_of_a_public_user_cannot_leave(acme, member):
    bob = member(Role.UPLOAD)
    answer = bob.api.delete(f"/organizations/acme/memberships/{bob.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (403, "public_user")
    assert Membership.objects.filter(user=bob.user).exists()


def test_a_stranger_cannot_leave_for_a_member(charlie, alice):
    answer = charlie.api.delete(f"/organizations/acme/memberships/{alice.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_a_member")
    assert Membership.objects.filter(user=alice.user).exists()
