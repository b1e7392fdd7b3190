"""The tabs of an organization: permissions, what strangers see, and creating an organization."""

import re
import uuid

import pytest

from organizations import permissions
from organizations.audit import COMMAND
from organizations.models import AuditEvent, Membership, Organization
from organizations.operations import create_organization_with_admin
from organizations.permissions import Permission, Role
from sourceimages.operations import delete_image
from tests.conftest import Person
from tests.support.staff import (
    LONG,
    NUL,
    ORGANIZATIONS,
    SEEN,
    TABS,
    carried,
    everything,
    helper,
    in_database,
    logged_in,
    page,
    secret_of,
    without_tokens,
)

pytestmark = pytest.mark.any_database

OTHERS = [role for role in Role if role != Role.ADMIN]
CHANGES = [
    ("members", {"action": "add", "who": "new@example.org", "roles": ["read"]}),
    ("members", {"action": "roles", "user": "{alice}", "roles": ["read"]}),
    ("members", {"action": "remove", "user": "{alice}"}),
    ("settings", {"action": "profile", "display_name": "Ours", "billing_email": "a@example.org"}),
    ("settings", {"action": "options", "search_language": "german"}),
    ("keys", {"action": "add"}),
    ("keys", {"action": "show", "key": "{key}"}),
    ("keys", {"action": "remove", "key": "{key}"}),
]


def filled(form, acme, alice):
    values = {"{alice}": str(alice.user.pk), "{key}": acme.signing_keys.first().fingerprint}
    return {name: values.get(value, value) if isinstance(value, str) else value for name, value in form.items()}


@pytest.mark.parametrize("role", Role)
def test_each_role_sees_its_pages_and_no_others(acme, role):
    client, seen = logged_in(helper(acme, role)), SEEN.get(role, set())
    for tab in TABS:
        answer = client.get(page(acme, tab))
        assert answer.status_code == (200 if tab in seen else 403), tab
        if tab in seen:
            links = re.findall(rf'href="{ORGANIZATIONS}/{acme.pk}/(\w+)/"', answer.content.decode())
            assert links == [one for one in TABS if one in seen]


@pytest.mark.parametrize("role", Role)
def test_an_organization_opens_at_the_first_tab_with_permission(acme, role):
    answer = logged_in(helper(acme, role)).get(f"{ORGANIZATIONS}/{acme.pk}/change/")
    if role in SEEN:
        assert (answer.status_code, answer.headers["Location"]) == (302, page(acme, "usage"))
    else:
        assert answer.status_code == 403


@pytest.mark.parametrize(("tab", "form"), CHANGES)
@pytest.mark.parametrize("role", OTHERS)
def test_only_admins_can_change_an_organization(acme, alice, role, tab, form):
    client = logged_in(helper(acme, role))
    acme.signing_keys.create(key="another")
    before = everything()
    answer = client.post(page(acme, tab), filled(form, acme, alice))
    assert answer.status_code == 403
    assert everything() == before
    assert not any(key.key in answer.content.decode() for key in acme.signing_keys.all())


@pytest.mark.parametrize(("tab", "form"), CHANGES)
def test_admins_can_submit_all_actions(admin, acme, alice, tab, form):
    acme.signing_keys.create(key="another")
    before = everything()
    assert admin.post(page(acme, tab), filled(form, acme, alice)).status_code in (200, 302)
    assert everything() != before


@pytest.mark.parametrize("role", [role for role in SEEN if role != Role.ADMIN])
def test_readers_see_no_forms(acme, role):
    client = logged_in(helper(acme, role))
    for tab in SEEN[role]:
        main = client.get(page(acme, tab)).content.decode().partition("<main")[2]
        assert not re.search(r'<button[^>]* class="[^"]*main', main), tab


def test_other_organizations_look_like_missing_ones(acme, charlie):
    client = logged_in(helper(acme, Role.ADMIN))
    other, nothing = Organization.objects.get(name="other"), Organization(pk=uuid.uuid4())
    before = everything()
    for tab in (*TABS, "change", "delete", "nonsense"):
        for ask in (client.get, lambda address: client.post(address, {"action": "add"})):
            existing, missing = ask(page(other, tab)), ask(page(nothing, tab))
            assert (existing.status_code, missing.status_code) == (404, 404), tab
            texts = [
                without_tokens(answer).replace(str(organization.pk), "")
                for answer, organization in ((existing, other), (missing, nothing))
            ]
            assert texts[0] == texts[1], tab
    assert everything() == before


def test_an_inactive_member_is_a_stranger(acme):
    client = logged_in(helper(acme, Role.ADMIN, active=False))
    assert {client.get(page(acme, tab)).status_code for tab in TABS} == {404}
    assert "acme" not in client.get(f"{ORGANIZATIONS}/").content.decode()


def test_the_list_shows_ones_own_organizations(acme, charlie, boss):
    helped = logged_in(helper(acme, Role.READ)).get(f"{ORGANIZATIONS}/").content.decode()
    assert (">acme<" in helped, ">other<" in helped) == (True, False)
    assert "New organization" not in helped
    listed = boss.get(f"{ORGANIZATIONS}/").content.decode()
    assert (">acme<" in listed, ">other<" in listed) == (True, True)
    assert "New organization" in listed


def test_an_unknown_action_is_refused(admin, acme):
    before = everything()
    for tab in TABS:
        assert admin.post(page(acme, tab), {"action": "nonsense"}).status_code == 400
    assert everything() == before


@pytest.mark.parametrize("address", [*(f"/{{}}/{tab}/" for tab in TABS), "/{}/change/", "/", "/add/"])
def test_users_who_are_not_staff_get_the_login_page(client, acme, alice, address):
    for login in (lambda: None, lambda: client.force_login(alice.user)):
        login()
        for ask in (client.get, client.post):
            answer = ask(ORGANIZATIONS + address.format(acme.pk))
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/admin/login/")


def test_deactivated_staff_users_lose_access_at_once(admin, sam, acme):
    sam.is_active = False
    sam.save()
    assert admin.get(page(acme, "usage")).status_code == 302


def test_the_list_takes_as_many_queries_for_two_as_for_twenty(boss, queries, db):
    def more(first, last):
        for i in range(first, last):
            create_organization_with_admin(f"org-{i}", email="a@example.org", actor=COMMAND)

    more(0, 2)
    few = queries(boss, f"{ORGANIZATIONS}/")
    more(2, 20)
    assert queries(boss, f"{ORGANIZATIONS}/") == few


def test_the_list_takes_as_many_queries_for_a_member_of_two_as_of_twenty(acme, queries):
    sam = helper(acme, Role.READ)

    def more(first, last):
        for i in range(first, last):
            made = create_organization_with_admin(f"org-{i}", email="a@example.org", actor=COMMAND).organization
            Membership.objects.create(organization=made, user=sam, roles=[Role.READ])

    more(0, 1)
    few = queries(logged_in(sam), f"{ORGANIZATIONS}/")
    more(1, 19)
    assert queries(logged_in(sam), f"{ORGANIZATIONS}/") == few


# --- Content ----------------------------------------------------------------------------------------------------------


def test_usage_counts_restorable_deletions(admin, acme, alice, image):
    def restorable():
        return admin.get(page(acme, "usage")).context["restorable_deletions"]

    assert restorable() == 0
    tombstone = delete_image(image, actor=alice.actor)
    assert restorable() == 1
    acme.images.update(tombstone=None)  # all images were restored; the deletion remains
    assert tombstone in acme.tombstones.all()
    assert restorable() == 0


@pytest.mark.parametrize("days", ["30", "90", "365", "31", "-1", "x", "٣٠", "9" * 5000])
def test_usage_has_three_periods(admin, acme, days):
    answer = admin.get(page(acme, "usage"), {"days": days})
    assert answer.status_code == 200
    assert answer.context["period"] == (int(days) if days in ("30", "90", "365") else 30)


def test_the_link_to_images_requires_permission_to_view_them(acme, monkeypatch):
    seen = permissions.ROLE_PERMISSIONS[Role.BILLING_READ] | {Permission.STATS_READ}
    monkeypatch.setitem(permissions.ROLE_PERMISSIONS, Role.BILLING_READ, seen)
    link = "/admin/sourceimages/sourceimage/?organization=acme"
    assert link not in logged_in(helper(acme, Role.BILLING_READ)).get(page(acme, "usage")).content.decode()
    assert link in logged_in(helper(acme, Role.READ, name="sue")).get(page(acme, "usage")).content.decode()


def test_history_is_of_this_organization(admin, acme, charlie):
    text = admin.get(page(acme, "history")).content.decode()
    assert "organization.created" in text
    assert AuditEvent.objects.filter(organization__name="other").exists()
    assert {event.organization_id for event, _ in admin.get(page(acme, "history")).context["events"]} == {acme.pk}


# --- Creating an organization -----------------------------------------------------------------------------------------


def test_a_superuser_creates_an_organization_whose_key_is_shown_once(boss, root, log):
    answer = boss.post(f"{ORGANIZATIONS}/add/", {"name": "fresh", "email": "dora@example.org"})
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    key, fresh = secret_of(answer), Organization.objects.get(name="fresh")
    dora = fresh.memberships.get().user
    assert dora.email == "dora@example.org"
    assert Person(dora, key).api.get("/organizations/fresh").status_code == 200
    assert f"{ORGANIZATIONS}/add/" in str(log.entries)
    assert key not in str(log.entries)
    assert not in_database(key)
    assert key not in carried(boss)
    assert key not in boss.get(f"{ORGANIZATIONS}/add/").content.decode()
    event = AuditEvent.objects.get(action="organization.created")
    assert (event.user, event.source, event.organization) == (root, "staff", fresh)


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("acme", "a@example.org"),
        ("No Name", "a@example.org"),
        ("", "a@example.org"),
        (NUL, "a@example.org"),
        (LONG, "a@example.org"),
        ("fresh", "invalid"),
        ("fresh", ""),
        ("fresh", f"{NUL}@example.org"),
        ("fresh", f"{'x' * 60}@{'y' * 60}.{'y' * 60}.{'y' * 60}.{'y' * 60}.org"),
        ("fresh", f"{LONG}@example.org"),
    ],
)
def test_invalid_input_creates_nothing_and_stays_in_the_form(boss, acme, name, email):
    before = everything()
    answer = boss.post(f"{ORGANIZATIONS}/add/", {"name": name, "email": email})
    assert answer.status_code == 400
    assert answer.context["problem"]
    assert answer.context["submitted"]["name"] == name
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_only_superusers_create_organizations(acme, role):
    client = logged_in(helper(acme, role))
    before = everything()
    assert client.get(f"{ORGANIZATIONS}/add/").status_code == 403
    answer = client.post(f"{ORGANIZATIONS}/add/", {"name": "fresh", "email": "a@example.org"})
    assert answer.status_code == 403
    assert everything() == before
