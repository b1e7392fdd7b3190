"""An admin who adds a user as a member gains nothing and takes nothing from it until the user accepts."""

import pytest

from organizations.audit import COMMAND, staff_actor
from organizations.auth.consent import is_public
from organizations.models import AuditEvent, Job, Membership, Organization, User
from organizations.operations import set_roles
from organizations.permissions import Role
from sourceimages.models import ImageVersion
from tests.conftest import Person
from tests.support.rows import insert_images
from tests.support.staff import everything, logged_in, page, superuser

pytestmark = pytest.mark.any_database

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


def test_what_a_public_user_does_there_does_not_show_the_address_either(charlie, member, invite):
    """Anyone has the key of a public user, a stranger too, who would see in the admin whose it is."""
    bob = member(Role.READ)
    invite(bob, Role.WRITE)
    other = membership(charlie).organization
    insert_images(other, 2, actor=COMMAND)
    first, second = other.images.order_by("id")
    assert bob.api.put(f"/sourceimages/other/{first.hash}/name", "b.png", format="json").status_code == 204
    assert bob.api.delete(f"/sourceimages/other/{second.hash}").status_code == 204
    Job.objects.create(organization=other, kind="lock", source="api", user=bob.user, state="succeeded")
    User.objects.filter(pk=charlie.user.pk).update(is_staff=True)
    browser = logged_in(User.objects.get(pk=charlie.user.pk))
    deletion = other.tombstones.get()
    paths = [
        page(other, "history"),
        page(other, "usage"),
        "/admin/",
        "/admin/organizations/auditevent/",
        f"/admin/organizations/auditevent/{AuditEvent.objects.get(action='image.renamed').pk}/change/",
        "/admin/organizations/job/",
        f"/admin/organizations/job/{Job.objects.get(kind='lock').pk}/change/",
        "/admin/sourceimages/tombstone/",
        f"/admin/sourceimages/tombstone/{deletion.pk}/change/",
        f"/admin/sourceimages/sourceimage/{first.pk}/change/",
        f"/admin/sourceimages/sourceimage/{second.pk}/change/",
        "/admin/sourceimages/imageversion/",
        f"/admin/sourceimages/imageversion/{ImageVersion.objects.get().pk}/change/",
    ]
    named = 0
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        assert "bob@example.org" not in answer.content.decode(), path
        named += str(bob.user.pk) in answer.content.decode()
    assert named >= len(paths) - 2
    assert "bob@example.org" in logged_in(superuser()).get(page(other, "history")).content.decode()


def test_a_public_user_makes_no_user_with_its_address_for_a_stranger(charlie, member, invite):
    """The response would have the address, and anyone has the key."""
    bob = member(Role.READ)
    invite(bob, Role.ADMIN)
    before = User.objects.count()
    answer = bob.api.post(OTHER, {"roles": ["read"]}, format="json")
    assert (answer.status_code, answer.json()["reason"]) == (403, "public_user")
    assert "bob@example.org" not in answer.content.decode()
    assert User.objects.count() == before


def test_organizations_of_strangers_push_nothing_off_the_list_of_keys(alice, charlie, invite, monkeypatch):
    Organization.objects.filter(name="other").update(name="aaa")  # sorts before acme
    answer = charlie.api.put(f"/organizations/aaa/memberships/{alice.user.pk}", {"roles": ["admin"]}, format="json")
    assert answer.status_code == 201
    own = [one["user_id"] for one in alice.api.get("/organizations/acme/memberships").json()["items"]]
    for name, limit in (("MAX_ORGANIZATIONS", 1), ("MAX_MEMBERSHIPS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(f"organizations.api.users.{name}", limit)
            listed = alice.api.get("/user/admin/apikeys").json()
        assert listed["truncated"]
        assert [one["user_id"] for one in listed["items"]] == own
    assert {one["organization"] for one in alice.api.get("/user/admin/apikeys").json()["items"]} == {"acme", "aaa"}


def test_organizations_of_strangers_are_not_on_the_dashboard(acme, charlie, alice):
    User.objects.filter(pk=alice.user.pk).update(is_staff=True)
    other = membership(charlie).organization
    for _ in range(9):
        Job.objects.create(organization=other, kind="lock", state="running")
        charlie.api.put(f"{OTHER}/{alice.user.pk}", {"roles": ["admin"]}, format="json")
        charlie.api.put(f"{OTHER}/{alice.user.pk}", {"roles": ["read"]}, format="json")
    Job.objects.create(organization=acme, kind="lock", state="running", created=acme.created)
    context = logged_in(User.objects.get(pk=alice.user.pk)).get("/admin/").context
    assert [job.organization for job in context["running"]] == [acme]
    assert {change.organization for change in context["admin_changes"]} <= {acme}


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


def test_a_stranger_leaves_no_user_behind_as_the_last_admin(charlie, alice, invite):
    """Or the user could not leave, and operators could not deactivate the user."""
    invite(alice, Role.ADMIN)
    for answer in (
        charlie.api.delete(f"{OTHER}/{charlie.user.pk}"),
        charlie.api.put(f"{OTHER}/{charlie.user.pk}", {"roles": ["read"]}, format="json"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (409, "last_admin")
    assert membership(charlie).roles == ["admin"]
    assert alice.api.delete(f"{OTHER}/{alice.user.pk}").status_code == 204


def test_an_admin_who_has_accepted_can_be_left_alone(charlie, alice, invite):
    invite(alice, Role.ADMIN)
    assert alice.api.get("/organizations/other").status_code == 200
    assert charlie.api.delete(f"{OTHER}/{charlie.user.pk}").status_code == 204
    assert alice.api.delete(f"{OTHER}/{alice.user.pk}").status_code == 409


def test_the_key_of_a_public_user_cannot_leave(acme, member):
    bob = member(Role.UPLOAD)
    answer = bob.api.delete(f"/organizations/acme/memberships/{bob.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (403, "public_user")
    assert Membership.objects.filter(user=bob.user).exists()


def test_a_stranger_cannot_leave_for_a_member(charlie, alice):
    answer = charlie.api.delete(f"/organizations/acme/memberships/{alice.user.pk}")
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_a_member")
    assert Membership.objects.filter(user=alice.user).exists()
