"""Members of an organization in the admin."""

import re

import pytest

from organizations.models import AuditEvent, Membership, User
from organizations.permissions import Role
from tests.conftest import Person
from tests.support.staff import LONG, NUL, carried, everything, helper, in_database, page, secret_of

pytestmark = pytest.mark.any_database


@pytest.fixture
def only_admin(admin, sam, acme):
    """Sam's browser; Sam is the only member."""
    Membership.objects.exclude(user=sam).delete()
    return admin


def add(client, acme, who, *roles, comment=""):
    return client.post(page(acme, "members"), {"action": "add", "who": who, "roles": list(roles), "comment": comment})


def form_of(answer, start):
    """Return the page from `start` to the end of the form."""
    return answer.content.decode().partition(start)[2].partition("</form>")[0]


def checked(form):
    return re.findall(r'name="roles" value="([^"]+)" checked', form)


@pytest.mark.parametrize("by", ["username", "pk"])
def test_an_existing_user_is_added_as_a_member(admin, sam, acme, by):
    sue = helper(name="sue")
    answer = add(admin, acme, str(getattr(sue, by)), Role.WRITE, Role.UNLOCK, comment="shop")
    assert answer.status_code == 302
    member = acme.memberships.get(user=sue)
    assert (member.roles, member.comment) == (["write", "sourceimages:unlock"], "shop")
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization, event.source) == ("membership.created", sam, acme, "staff")


def test_a_new_email_creates_a_user_whose_key_is_shown_once(admin, acme, log):
    answer = add(admin, acme, "dora@example.org", Role.READ)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    key, dora = secret_of(answer), User.objects.get(email="dora@example.org")
    assert acme.memberships.get(user=dora).roles == ["read"]
    assert Person(dora, key).api.get("/sourceimages/acme").status_code == 200
    assert "/members/" in str(log.entries)
    assert key not in str(log.entries)
    assert not in_database(key)
    assert key not in carried(admin)
    assert key not in admin.get(page(acme, "members")).content.decode()


@pytest.mark.parametrize(
    ("who", "roles", "comment"),
    [
        ("unknown", ["read"], ""),
        ("", ["read"], ""),
        (NUL, ["read"], ""),
        (LONG, ["read"], ""),
        (f"{NUL}@example.org", ["read"], ""),
        (f"{LONG}@example.org", ["read"], ""),
        ("12345678-1234-4234-8234-123456789abc", ["read"], ""),
        ("sam", ["read"], ""),  # a member already
        ("sue", [], ""),
        ("sue", ["king"], ""),
        ("sue", [NUL], ""),
        ("sue", ["read"], NUL),
        ("sue", ["read"], "x" * 256),
        ("sue", ["read"], LONG),
        ("new@example.org", ["read"], LONG),
    ],
)
def test_invalid_input_adds_no_member_and_stays_in_the_form(admin, acme, who, roles, comment):
    helper(name="sue")
    before = everything()
    answer = add(admin, acme, who, *roles, comment=comment)
    assert answer.status_code == 400
    assert everything() == before
    assert answer.context["problem"]
    form = form_of(answer, 'value="add"')
    assert f'name="who" value="{who}"' in form
    assert f'name="comment" value="{comment}"' in form
    assert checked(form) == [role for role in roles if role == "read"]


def test_the_longest_comment_is_accepted(admin, acme):
    helper(name="sue")
    assert add(admin, acme, "sue", Role.READ, comment="ü" * 255).status_code == 302


def test_roles_are_changed(admin, sam, acme, member):
    bob = member(Role.WRITE)
    sent = {"action": "roles", "user": str(bob.user.pk), "roles": ["read", "upload"], "comment": "less"}
    assert admin.post(page(acme, "members"), sent).status_code == 302
    membership = acme.memberships.get(user=bob.user)
    assert (membership.roles, membership.comment) == (["read", "upload"], "less")
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.target) == ("membership.updated", sam, str(bob.user.pk))


def test_invalid_input_stays_in_the_form_of_the_member(admin, acme, member):
    bob, eve = member(Role.WRITE), member(Role.READ, email="eve@example.org")
    before = everything()
    sent = {"action": "roles", "user": str(bob.user.pk), "roles": ["upload", "king"], "comment": "typed"}
    answer = admin.post(page(acme, "members"), sent)
    assert answer.status_code == 400
    assert everything() == before
    assert "typed" not in form_of(answer, 'value="add"')
    assert checked(form_of(answer, 'value="add"')) == []
    of_bob = form_of(answer, f'value="roles"><input type="hidden" name="user" value="{bob.user.pk}"')
    assert checked(of_bob) == ["upload"]
    assert 'value="typed"' in of_bob
    of_eve = form_of(answer, f'value="roles"><input type="hidden" name="user" value="{eve.user.pk}"')
    assert checked(of_eve) == ["read"]
    assert "typed" not in of_eve


def test_invalid_input_for_a_new_member_does_not_change_other_forms(admin, acme, member):
    bob = member(Role.WRITE)
    answer = add(admin, acme, "unknown", Role.UPLOAD, comment="typed")
    of_bob = form_of(answer, f'value="roles"><input type="hidden" name="user" value="{bob.user.pk}"')
    assert checked(of_bob) == ["write"]
    assert "typed" not in of_bob


def test_a_member_is_removed(admin, sam, acme, member):
    bob = member(Role.WRITE)
    assert admin.post(page(acme, "members"), {"action": "remove", "user": str(bob.user.pk)}).status_code == 302
    assert not acme.memberships.filter(user=bob.user).exists()
    assert bob.user.api_keys.exists()
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization) == ("membership.deleted", sam, acme)


@pytest.mark.parametrize("form", [{"action": "remove"}, {"action": "roles", "roles": ["read"]}])
def test_the_last_admin_stays(only_admin, sam, acme, form):
    before = everything()
    answer = only_admin.post(page(acme, "members"), form | {"user": str(sam.pk)})
    assert answer.status_code == 400
    assert "last admin" in answer.context["problem"]
    assert everything() == before


@pytest.mark.parametrize("form", [{"action": "remove"}, {"action": "roles", "roles": ["read"]}])
@pytest.mark.parametrize("user", ["{charlie}", "", "x", NUL, LONG])
def test_only_members_can_be_changed(admin, acme, charlie, form, user):
    before = everything()
    answer = admin.post(page(acme, "members"), form | {"user": user.replace("{charlie}", str(charlie.user.pk))})
    assert answer.status_code == 400
    assert everything() == before


def test_text_of_other_users_is_escaped(admin, acme, member):
    bob = member(Role.READ, email='"<script>"@example.org')
    acme.memberships.filter(user=bob.user).update(comment="<script>")
    assert "<script>" not in admin.get(page(acme, "members")).content.decode().partition("<main")[2]


def test_the_page_takes_as_many_queries_for_two_members_as_for_twenty(admin, acme, member, queries):
    few = queries(admin, page(acme, "members"))
    for i in range(18):
        member(Role.READ, email=f"m{i}@example.org")
    assert queries(admin, page(acme, "members")) == few
