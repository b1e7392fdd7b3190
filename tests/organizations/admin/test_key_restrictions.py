"""Restrictions of API keys in the admin: the rules are those of the API."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.auth.restrictions import Restrictions
from organizations.models import ApiKey, AuditEvent, Membership, SecondFactor, User
from organizations.operations import KeyOptions, create_key, import_key
from organizations.permissions import PUBLIC_ROLES, Role
from tests.conftest import Person
from tests.support.staff import LONG, NUL, USERS, everything, helper, logged_in, secret_of

pytestmark = pytest.mark.any_database

TOMORROW = datetime(2126, 1, 31, 9, 30, tzinfo=UTC)
MANY = "\n".join(f"192.0.2.{number}" for number in range(11))


def page_of(user: User) -> str:
    return f"{USERS}/{user.pk}/change/"


def page(key: ApiKey) -> str:
    return f"{USERS}/{key.user_id}/keys/{key.pk}/"


@pytest.fixture
def key(sam) -> ApiKey:
    return create_key(sam, comment="laptop", actor=COMMAND)[0]


def form(**changes: str) -> dict[str, str]:
    return {"allowed_ips": "", "expires": ""} | changes


def problem(response) -> str:
    return str(response.context["problem"])


# --- New keys ---------------------------------------------------------------------------------------------------------


def test_a_key_is_created_with_restrictions(admin, sam, acme):
    restrictions = {"allowed_ips": "192.0.2.0/24, 2001:DB8::1\r\n127.0.0.1", "expires": "2126-01-31T09:30"}
    response = admin.post(page_of(sam), {"action": "create_key"} | restrictions)
    assert response.status_code == 200
    key = ApiKey.objects.get(user=sam)
    assert key.allowed_ips == ["192.0.2.0/24", "2001:db8::1", "127.0.0.1"]
    assert (key.expires, key.trusted, key.requires_mfa) == (TOMORROW, False, False)
    person = Person(sam, secret_of(response))
    assert person.api.get("/organizations/acme").status_code == 200
    assert person.api.get("/organizations/acme", REMOTE_ADDR="198.51.100.1").json()["reason"] == "ip_not_allowed"
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.source, event.user) == ("api_key.created", "staff", sam)
    assert event.details["allowed_ips"] == key.allowed_ips
    assert event.details["expires"] == "2126-01-31T09:30:00+00:00"


def test_a_key_can_require_a_second_factor_and_be_trusted(admin, sam):
    admin.post(page_of(sam), {"action": "create_key", "requires_mfa": "on", "trusted": "on"})
    key = ApiKey.objects.get(user=sam)
    assert (key.allowed_ips, key.expires, key.trusted, key.requires_mfa) == (None, None, True, True)


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"allowed_ips": "somewhere"}, "Allowed IP addresses: 'somewhere' must be an address or an IPv4 network."),
        ({"allowed_ips": "request_ip"}, "Allowed IP addresses: 'request_ip' must be"),
        ({"allowed_ips": "2001:db8::/64"}, "Allowed IP addresses: '2001:db8::/64' must be"),
        ({"allowed_ips": "10.0.0.0/8"}, "Allowed IP addresses: must cover at most 10000 addresses"),
        ({"allowed_ips": MANY}, "Allowed IP addresses: must have at most 10 entries, not 11."),
        ({"allowed_ips": LONG}, "Allowed IP addresses: "),
        ({"allowed_ips": NUL}, "Allowed IP addresses: "),
        ({"expires": "2020-01-01T00:00"}, "Expires (UTC): must be in the future."),
        ({"expires": "tomorrow"}, "Expires (UTC): must be a time with time zone"),
        ({"expires": "2126-01-31"}, "Expires (UTC): must be a time with time zone"),
        ({"expires": NUL}, "Expires (UTC): "),
        ({"comment": "x" * 256}, "comment: "),
    ],
)
def test_an_invalid_restriction_creates_and_changes_nothing(admin, sam, key, wrong, expected):
    before = everything()
    created = admin.post(page_of(sam), {"action": "create_key", "comment": "new"} | form(**wrong))
    assert created.status_code == 400
    assert problem(created).startswith(expected)
    assert everything() == before
    if "comment" not in wrong:
        changed = admin.post(page(key), form(**wrong) | {"confirmed": "yes"})
        assert (changed.status_code, problem(changed)) == (400, problem(created))
        assert everything() == before
        sent = re.escape(next(iter(wrong.values())).replace("'", "&#x27;"))
        assert re.search(sent, changed.content.decode())  # stays in the form


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_user_leads_to_the_restrictions_of_each_key(admin, sam, key):
    assert f'href="{page(key)}"' in admin.get(page_of(sam)).content.decode()
    assert "laptop" in admin.get(page(key)).content.decode()


def test_a_change_that_locks_clients_out_is_confirmed_first(admin, sam, key):
    before = everything()
    change = form(allowed_ips="192.0.2.1", expires="2126-01-31T09:30:00", requires_mfa="on")
    asked = admin.post(page(key), change)
    assert asked.status_code == 200
    assert asked.context["confirmation"].summary == [
        ("Allowed IP addresses", "Clients at other addresses can no longer use this key."),
        ("Requires a second factor", "The user has no second factor, and has to set it up first."),
    ]
    assert everything() == before
    confirmed = dict(asked.context["confirmation"].hidden) | {"confirmed": "yes"}
    assert admin.post(page(key), confirmed).headers["Location"] == page_of(sam)
    key.refresh_from_db()
    assert (key.allowed_ips, key.expires, key.requires_mfa, key.trusted) == (["192.0.2.1"], TOMORROW, True, False)
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.source, event.user, event.target_id) == ("api_key.updated", "staff", sam, str(key.pk))
    assert event.details["before"]["allowed_ips"] is None
    assert event.details["after"]["allowed_ips"] == ["192.0.2.1"]


def test_a_change_that_locks_no_client_out_is_saved_at_once(admin, sam):
    options = KeyOptions(Restrictions(("192.0.2.1",), timezone.now() + timedelta(1), requires_mfa=True))
    key, _ = create_key(sam, comment="", options=options, actor=COMMAND)
    assert admin.post(page(key), form(allowed_ips="192.0.2.0/24", trusted="on")).status_code == 302
    key.refresh_from_db()
    assert (key.allowed_ips, key.expires, key.trusted, key.requires_mfa) == (["192.0.2.0/24"], None, True, False)
    assert admin.post(page(key), form()).status_code == 302
    key.refresh_from_db()
    assert (key.allowed_ips, key.trusted) == (None, False)


def test_with_a_second_factor_the_confirmation_names_clients_without_a_code(boss, sam, key):
    SecondFactor.objects.create(user=sam, encrypted_secret="", confirmed=timezone.now())
    asked = boss.post(page(key), form(requires_mfa="on"))
    problem = "Clients can no longer use this key without a code."
    assert asked.context["confirmation"].summary == [("Requires a second factor", problem)]


def test_what_the_browser_sends_unchanged_changes_nothing(admin, sam):
    options = KeyOptions(Restrictions(("192.0.2.1", "192.0.2.2"), timezone.now() + timedelta(1), requires_mfa=True))
    key, _ = create_key(sam, comment="", options=options, actor=COMMAND)
    past = datetime(2020, 1, 31, 9, 30, tzinfo=UTC)
    ApiKey.objects.filter(pk=key.pk).update(expires=past)
    before = ApiKey.objects.values().get(pk=key.pk)
    assert 'value="2020-01-31T09:30:00"' in admin.get(page(key)).content.decode()
    sent = form(allowed_ips="192.0.2.1\r\n192.0.2.2", expires="2020-01-31T09:30", requires_mfa="on")
    assert admin.post(page(key), sent).status_code == 302
    assert ApiKey.objects.values().get(pk=key.pk) == before
    assert AuditEvent.objects.filter(action="api_key.updated").count() == 0
    assert admin.post(page(key), sent | {"expires": "2020-01-31T09:31"}).status_code == 400


def test_a_change_keeps_what_another_request_has_changed_meanwhile(admin, sam, key, monkeypatch):
    """Only the options that differ are written, on the row as it is under the lock."""
    from organizations.admin import users

    update_key = users.update_key

    def meanwhile(user, key_id, changes, **options):
        ApiKey.objects.filter(pk=key_id).update(allowed_ips=["192.0.2.9"])
        return update_key(user, key_id, changes, **options)

    monkeypatch.setattr(users, "update_key", meanwhile)
    assert admin.post(page(key), form(trusted="on")).status_code == 302
    key.refresh_from_db()
    assert (key.allowed_ips, key.trusted) == (["192.0.2.9"], True)


def test_old_keys_carry_no_restrictions(admin, sam):
    key = import_key(sam, "a" * 32, comment="", actor=COMMAND)
    shown = admin.get(page(key)).content.decode()
    assert "can&#x27;t be restricted" in shown
    assert "Save" not in shown
    before = everything()
    assert "32 characters" in problem(admin.post(page(key), form(trusted="on")))
    assert everything() == before


# --- Who --------------------------------------------------------------------------------------------------------------


@pytest.mark.any_database
def test_only_superusers_change_keys_of_others(admin, boss, root, sam, alice, key):
    theirs = alice.user.api_keys.get()
    before = everything()
    for address in (page(theirs), f"{USERS}/{sam.pk}/keys/{theirs.pk}/", f"{USERS}/{sam.pk}/keys/{uuid.uuid4()}/"):
        for response in (admin.get(address), admin.post(address, form(trusted="on") | {"confirmed": "yes"})):
            assert response.status_code == 404
    assert boss.get(f"{USERS}/x/keys/x/").status_code == 404
    assert everything() == before
    assert boss.post(page(theirs), form(trusted="on")).status_code == 302
    assert AuditEvent.objects.latest("id").user == root


@pytest.mark.parametrize("role", Role)
def test_users_with_public_keys_cannot_change_them(acme, role):
    """A public user could otherwise make a key trusted that anyone can find."""
    sue = helper(acme, role, name="sue")
    key, _ = create_key(sue, comment="", actor=COMMAND)
    client, public = logged_in(sue), role in PUBLIC_ROLES
    before = everything()
    assert (client.get(page(key)).status_code == 403) is public
    assert (client.post(page(key), form(trusted="on")).status_code == 403) is public
    assert (everything() == before) is public


def test_superusers_make_a_key_of_a_public_user_trusted(boss, acme, member):
    bob = member(Role.READ)
    key = bob.user.api_keys.get()
    assert bob.api.get("/user/apikeys").status_code == 403
    assert boss.post(page(key), form(trusted="on")).status_code == 302
    assert bob.api.get("/user/apikeys").status_code == 200
    asked = boss.post(page(key), form())
    assert asked.context["confirmation"].summary == [("Trusted", "This is the last trusted key of a public user.")]
    assert bob.api.get("/user/apikeys").status_code == 200
    create_key(bob.user, comment="", options=KeyOptions(trusted=True), actor=COMMAND)
    assert boss.post(page(key), form()).status_code == 302
    assert bob.api.get("/user/apikeys").status_code == 403


def test_a_public_user_cannot_be_left_with_a_key_that_could_never_be_used(boss, member):
    """Without a trusted key a public user can't set up the second factor that the key would require."""
    bob = member(Role.READ)
    key = bob.user.api_keys.get()
    before = everything()
    changed = boss.post(page(key), form(requires_mfa="on") | {"confirmed": "yes"})
    created = boss.post(page_of(bob.user), {"action": "create_key", "requires_mfa": "on"})
    for response in (changed, created):
        assert response.status_code == 400
        assert problem(response).startswith("requires_mfa: of a public user needs trusted")
    assert everything() == before
    change = form(requires_mfa="on", trusted="on") | {"confirmed": "yes"}
    assert boss.post(page(key), change).status_code == 302
    assert boss.post(page_of(bob.user), {"action": "create_key", "requires_mfa": "on"}).status_code == 200


def test_superusers_with_a_public_role_change_their_keys(boss, root, acme):
    Membership.objects.create(organization=acme, user=root, roles=[Role.READ])
    key, _ = create_key(root, comment="", actor=COMMAND)
    assert boss.post(page(key), form(trusted="on")).status_code == 302
