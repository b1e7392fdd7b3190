"""Restrictions of API keys: what is stored, and that they hold for the key and all its tokens at once."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import time_machine
from django.db import connection
from rest_framework.test import APIClient

from organizations.audit import Actor
from organizations.auth.restrictions import Restrictions, parse_allowed_ips
from organizations.errors import LessRestricted
from organizations.models import ApiKey, AuditEvent, Membership, Organization, User
from organizations.operations import create_key, import_key, set_roles
from organizations.permissions import Role
from rokka.core.clock import rfc3339
from rokka.core.errors import InvalidInput
from tests.conftest import Person

pytestmark = pytest.mark.any_database

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"
MEMBERS = "/organizations/acme/memberships"


def later(**delta: int) -> str:
    return rfc3339(datetime.now(UTC) + timedelta(**delta))


TOMORROW, YESTERDAY = later(days=1), later(days=-1)


def add(person: Person, **body):
    return person.api.post("/user/apikeys", body, format="json")


def change(person: Person, key_id: object, query: str = "", **body):
    return person.api.patch(f"/user/apikeys/{key_id}{query}", body, format="json")


def own_key(person: Person) -> ApiKey:
    return ApiKey.objects.get(digest=ApiKey.digest_of(person.key))


def second(person: Person, **fields) -> Person:
    """The same person with a second key, with these columns."""
    row, key = create_key(person.user, comment="", actor=person.actor)
    ApiKey.objects.filter(pk=row.pk).update(**fields)
    return Person(person.user, key)


def bearer(person: Person, query: str = "no_ip_protection=true&renewable=true") -> APIClient:
    token = person.api.get(f"/user/apikeys/token?{query}").json()["token"]
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def refusal(response) -> tuple[int, str]:
    body = response.json()
    assert body["error"]["reason"] == body["reason"]
    return response.status_code, body["reason"]


# --- Creating keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_created_with_its_restrictions_and_shown_with_them(acme, alice):
    options = {"allowed_ips": ["192.0.2.9/24", "2001:db8::7", "192.0.2.0/24"], "expires": TOMORROW, "trusted": True}
    added = add(alice, comment="shop", requires_mfa=False, **options)
    assert added.status_code == 201
    expected = {
        "comment": "shop",
        "requires_mfa": False,
        "trusted": True,
        "allowed_ips": ["192.0.2.0/24", "2001:db8::7"],
        "expires": TOMORROW,
    }
    listed = alice.api.get("/user/apikeys").json()
    assert {name: listed[1][name] for name in expected} == expected
    assert added.json() == listed[1] | {"api_key": added.json()["api_key"]}
    assert alice.api.get("/user").json()["api_keys"] == listed
    assert (listed[0]["allowed_ips"], listed[0]["expires"], listed[0]["trusted"]) == (None, None, False)


def test_a_time_is_stored_as_it_is_shown(acme, alice):
    made = add(alice, expires="2099-01-01T01:00:00.75+01:00").json()
    assert made["expires"] == "2099-01-01T00:00:00+00:00"
    assert ApiKey.objects.get(pk=made["id"]).expires == datetime(2099, 1, 1, tzinfo=UTC)


INVALID = [
    {"allowed_ips": ["request_ip"]},
    {"allowed_ips": ["example.org"]},
    {"allowed_ips": [""]},
    {"allowed_ips": ["2001:db8::/120"]},
    {"allowed_ips": ["10.0.0.0/16"]},
    {"allowed_ips": [f"192.0.2.{n}" for n in range(11)]},
    {"allowed_ips": "192.0.2.7"},
    {"allowed_ips": [None]},
    {"allowed_ips": {"a": 1}},
    {"expires": "2099-01-01T00:00:00"},
    {"expires": "2099-01-01"},
    {"expires": "tomorrow"},
    {"expires": "9999-12-31T23:59:59-14:00"},
    {"expires": YESTERDAY},
    {"expires": 4_000_000_000},
    {"trusted": "true"},
    {"trusted": 1},
    {"trusted": None},
    {"requires_mfa": None},
    {"ip": ["192.0.2.7"]},
    {"allowedIps": ["192.0.2.7"]},
    {"expires_at": TOMORROW},
]
INVALID_FOR_NEW = [{"allowed_ips": None}, {"allowed_ips": []}, {"expires": None}]


@pytest.mark.parametrize("body", INVALID + INVALID_FOR_NEW)
def test_an_invalid_option_makes_no_key(acme, alice, body):
    assert refusal(add(alice, comment="shop", **body)) == (400, "invalid")
    assert alice.user.api_keys.count() == 1


# --- Keys of new members ----------------------------------------------------------------------------------------------


def test_a_new_member_gets_a_restricted_key(acme, alice):
    key = {"comment": "kiosk", "allowed_ips": [ELSEWHERE], "expires": TOMORROW, "trusted": True}
    made = alice.api.post(MEMBERS, {"roles": ["upload"], "comment": "hall", "api_key": key}, format="json")
    assert (made.status_code, made.json()["comment"]) == (201, "hall")
    row = ApiKey.objects.get(user=made.json()["user_id"])
    assert (row.comment, row.allowed_ips, rfc3339(row.expires), row.trusted) == ("kiosk", [ELSEWHERE], TOMORROW, True)
    new = Person(row.user, made.json()["api_key"])
    assert refusal(new.api.get("/organizations/acme")) == (401, "ip_not_allowed")


@pytest.mark.parametrize("key", [{}, {"api_key": None}, {"api_key": {}}])
def test_the_key_of_a_new_member_has_defaults(acme, alice, key):
    made = alice.api.post(MEMBERS, {"roles": ["upload"], "comment": "hall"} | key, format="json").json()
    row = ApiKey.objects.get(user=made["user_id"])
    assert (row.comment, row.allowed_ips, row.expires, row.trusted) == ("hall", None, None, False)


@pytest.mark.parametrize("key", [*INVALID[:4], *INVALID[-2:], *INVALID_FOR_NEW, "text", 7])
def test_an_invalid_key_makes_no_member(acme, alice, key):
    users = User.objects.count()
    made = alice.api.post(MEMBERS, {"roles": ["upload"], "api_key": key}, format="json")
    assert refusal(made) == (400, "invalid")
    assert User.objects.count() == users


@pytest.mark.parametrize("name", ["api_keys", "expires", "allowed_ips", "active"])
def test_unknown_members_of_a_membership_are_refused(acme, alice, member, name):
    bob = member(Role.READ)
    before = list(Membership.objects.order_by("id").values())
    body = {"roles": ["write"], name: True}
    assert refusal(alice.api.post(MEMBERS, body, format="json")) == (400, "invalid")
    assert refusal(alice.api.put(f"{MEMBERS}/{bob.user.pk}", body, format="json")) == (400, "invalid")
    assert [one["roles"] for one in Membership.objects.order_by("id").values()] == [one["roles"] for one in before]


def test_options_of_a_key_are_not_taken_for_an_existing_user(acme, alice, member):
    bob = member(Role.READ)
    body = {"roles": ["write"], "api_key": {"trusted": True}}
    assert alice.api.put(f"{MEMBERS}/{bob.user.pk}", body, format="json").status_code == 400
    assert not own_key(bob).trusted


def test_unknown_members_of_a_sign_up_are_refused(db):
    body = {"email": "dora@example.org", "api_key": {"expires": TOMORROW}}
    assert refusal(APIClient().post("/users", body, format="json")) == (400, "invalid")
    assert not User.objects.exists()


# --- Enforcement ------------------------------------------------------------------------------------------------------

PATHS = ["/", "/user", "/sourceimages/acme", "/sourceimages/nobody", "/user/apikeys/token", "/organizations/acme"]


@pytest.mark.parametrize("path", PATHS)
def test_a_key_works_from_its_addresses_only(acme, alice, path):
    inside = second(alice, allowed_ips=["192.0.2.0/24"]).api
    assert inside.get(path, REMOTE_ADDR="192.0.2.200").status_code in (200, 404)
    for address in ("192.0.3.1", "2001:db8::1", ""):
        response = inside.get(path, REMOTE_ADDR=address)
        assert refusal(response) == (401, "ip_not_allowed")
        assert response.json()["invalid_authentication"] is True


@pytest.mark.parametrize("path", PATHS)
def test_a_key_works_until_it_expires(acme, alice, path):
    person = second(alice, expires=datetime.now(UTC) + timedelta(seconds=100))
    assert person.api.get(path).status_code in (200, 404)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=101), tick=False):
        response = person.api.get(path)
        assert refusal(response) == (401, "key_expired")
        assert response.json()["invalid_authentication"] is True
        assert alice.api.get("/user").status_code == 200


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"allowed_ips": [ELSEWHERE]}, "ip_not_allowed"), ({"expires": datetime(2020, 1, 1, tzinfo=UTC)}, "key_expired")],
)
def test_restrictions_hold_for_older_tokens_at_once(acme, alice, fields, reason):
    person = second(alice)
    token = bearer(person)
    assert token.get("/sourceimages/acme").status_code == 200
    ApiKey.objects.filter(pk=own_key(person).pk).update(**fields)
    for path in PATHS:
        assert refusal(token.get(path)) == (401, reason)
    assert refusal(token.post("/user/apikeys/token")) == (401, reason)


def test_a_refused_key_is_not_noted_as_used(acme, alice):
    person = second(alice, allowed_ips=[ELSEWHERE])
    person.api.get("/user")
    person.api.get("/sourceimages/acme")
    assert own_key(person).accessed is None


def test_a_stranger_learns_nothing_new_from_a_restricted_key(acme, alice, charlie):
    person = second(charlie, allowed_ips=[ELSEWHERE])
    answers = {person.api.get(path).content for path in ("/sourceimages/acme", "/sourceimages/nobody", "/user")}
    assert len(answers) == 1


@pytest.mark.parametrize("query", ["", "expires_in=86400", "expires_in=315360000"])
def test_a_token_never_outlives_its_key(acme, alice, query):
    person = second(alice, expires=datetime.now(UTC) + timedelta(seconds=1000))
    expiry = int(own_key(person).expires.timestamp())
    first = person.api.post(f"/user/apikeys/token?{query}").json()
    assert first["payload"]["exp"] == expiry
    successor = APIClient(headers={"Authorization": f"Bearer {first['token']}"}).post("/user/apikeys/token").json()
    assert successor["payload"]["exp"] == expiry
    assert successor["payload"]["expt"] == first["payload"]["expt"]


def test_a_short_token_keeps_its_own_expiry(acme, alice):
    person = second(alice, expires=datetime.now(UTC) + timedelta(days=2))
    payload = person.api.get("/user/apikeys/token?expires_in=60").json()["payload"]
    assert payload["exp"] < own_key(person).expires.timestamp() - 86_400


def test_restrictions_cost_no_query(uploaded, alice, django_assert_num_queries):
    person = second(alice, allowed_ips=[HERE], expires=datetime.now(UTC) + timedelta(days=2))
    path = f"/sourceimages/acme/{uploaded.hash}"
    person.api.get(path)
    with django_assert_num_queries(2):  # credentials and the image
        assert person.api.get(path).status_code == 200


def test_an_older_version_can_go_on_creating_keys(acme, alice):
    columns, key = ["id", "user_id", "digest", "comment", "created"], ApiKey.new_key(alice.user)
    created = connection.ops.adapt_datetimefield_value(datetime.now(UTC))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO organizations_apikey ({', '.join(columns)}) VALUES (%s, %s, %s, %s, %s)",
            ["9" * 32, alice.user.pk.hex, ApiKey.digest_of(key), "", created],
        )
    body = Person(alice.user, key).api.get("/user/apikeys/current").json()
    assert (body["allowed_ips"], body["expires"], body["trusted"]) == (None, None, False)


# --- Changing keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_changed_and_what_is_not_sent_stays(acme, alice):
    key = own_key(second(alice))
    ApiKey.objects.filter(pk=key.pk).update(comment="shop")
    changed = change(alice, key.pk, allowed_ips=[ELSEWHERE], expires=TOMORROW)
    assert changed.status_code == 200
    assert changed.json() == {
        "id": str(key.pk),
        "comment": "shop",
        "requires_mfa": False,
        "totp_state": "none",
        "trusted": False,
        "allowed_ips": [ELSEWHERE],
        "expires": TOMORROW,
    }
    assert change(alice, key.pk, trusted=True).json() == changed.json() | {"trusted": True}


@pytest.mark.parametrize("nothing", [None, []])
def test_null_removes_a_restriction(acme, alice, nothing):
    key = own_key(second(alice, allowed_ips=[ELSEWHERE], expires=datetime.now(UTC) + timedelta(days=1)))
    assert change(alice, key.pk, allowed_ips=nothing).json()["allowed_ips"] is None
    assert change(alice, key.pk, expires=None).json()["expires"] is None


@pytest.mark.parametrize("body", [*INVALID, {}, {"comment": "x"}])
def test_an_invalid_change_changes_nothing(acme, alice, body):
    key = own_key(second(alice, allowed_ips=[ELSEWHERE]))
    assert refusal(change(alice, key.pk, **body)) == (400, "invalid")
    key.refresh_from_db()
    assert (key.allowed_ips, key.expires, key.trusted) == ([ELSEWHERE], None, False)
    assert not AuditEvent.objects.filter(action="api_key.updated").exists()


@pytest.mark.parametrize(
    ("body", "query", "reason"),
    [({"allowed_ips": [ELSEWHERE]}, "", "would_lock_out"), ({"expires": YESTERDAY}, "", "invalid")],
)
def test_the_key_of_the_request_is_not_locked_out(acme, alice, body, query, reason):
    key = own_key(alice).pk
    assert refusal(change(alice, key, query, **body)) == (400, reason)
    assert alice.api.get("/user").status_code == 200
    assert change(alice, key, "?force=true", **body).status_code == 200
    assert alice.api.get("/user").status_code == 401


def test_the_key_of_a_token_is_not_locked_out_either(acme, alice):
    key = own_key(alice).pk
    response = bearer(alice).patch(f"/user/apikeys/{key}", {"allowed_ips": [ELSEWHERE]}, format="json")
    assert refusal(response) == (400, "would_lock_out")
    assert own_key(alice).allowed_ips is None


def test_the_own_address_locks_nothing_out(acme, alice):
    assert change(alice, own_key(alice).pk, allowed_ips=["127.0.0.0/28"]).status_code == 200
    assert alice.api.get("/user").status_code == 200


def test_another_key_can_be_locked_out(acme, alice):
    other = second(alice)
    assert change(alice, own_key(other).pk, allowed_ips=[ELSEWHERE]).status_code == 200
    assert refusal(other.api.get("/user")) == (401, "ip_not_allowed")


def test_the_key_of_another_user_cannot_be_changed(acme, alice, charlie):
    key = own_key(charlie)
    assert refusal(change(alice, key.pk, "?force=true", allowed_ips=[ELSEWHERE])) == (404, "key_not_found")
    key.refresh_from_db()
    assert key.allowed_ips is None


@pytest.mark.parametrize("length", [32, 64])
def test_old_keys_cannot_be_restricted(acme, alice, length):
    row = import_key(alice.user, "aB3" * 10 + "x" * (length - 30), comment="", actor=alice.actor)
    response = change(alice, row.pk, expires=TOMORROW)
    assert response.status_code == (400 if length == 32 else 200)
    row.refresh_from_db()
    assert (row.expires is None) == (length == 32)


def test_changes_are_logged_with_before_and_after(acme, alice):
    key = own_key(second(alice))
    for _ in range(2):
        change(alice, key.pk, allowed_ips=[ELSEWHERE], trusted=True)
    event = AuditEvent.objects.get(action="api_key.updated")
    assert (event.target, event.target_id, event.user) == (str(alice.user.pk), str(key.pk), alice.user)
    assert event.details == {
        "before": {"allowed_ips": None, "expires": None, "trusted": False, "requires_mfa": False},
        "after": {"allowed_ips": [ELSEWHERE], "expires": None, "trusted": True, "requires_mfa": False},
    }


# --- Trusted keys -----------------------------------------------------------------------------------------------------


def test_a_trusted_key_manages_the_account_of_a_public_user(acme, member):
    bob = member(Role.READ)
    trusted = second(bob, trusted=True)
    for client in (trusted.api, bearer(trusted)):
        assert client.get("/user").json()["email"] == "bob@example.org"
        assert len(client.get("/user/apikeys").json()) == 2
        assert client.get("/user/memberships").json()["total"] == 1
        assert client.get(f"{MEMBERS}/current").json()["email"] == "bob@example.org"
    assert add(trusted, trusted=True).status_code == 201


def test_the_other_keys_of_a_public_user_stay_public(acme, member):
    bob = member(Role.READ)
    second(bob, trusted=True)
    assert bob.api.get("/user").json() == {"user_id": str(bob.user.pk)}
    assert refusal(change(bob, own_key(bob).pk, trusted=True)) == (403, "public_user")
    assert not own_key(bob).trusted


def test_a_trusted_key_grants_nothing_in_an_organization(acme, member, charlie):
    trusted = second(member(Role.READ), trusted=True)
    assert refusal(trusted.api.get(MEMBERS)) == (403, "role_missing")
    assert refusal(trusted.api.put("/stacks/acme/thumb", [], format="json")) == (403, "role_missing")
    assert refusal(trusted.api.get("/sourceimages/other")) == (403, "not_a_member")


def test_a_trusted_key_makes_no_organization_that_would_end_being_public(acme, member):
    bob = member(Role.READ)
    response = second(bob, trusted=True).api.put("/organizations/new", {"billing_email": "a@example.org"})
    assert refusal(response) == (403, "public_user")
    assert bob.user.memberships.count() == 1


def test_a_trusted_key_accepts_no_membership_that_would_end_being_public(acme, member, charlie):
    bob = member(Role.READ)
    charlie.api.put(f"/organizations/other/memberships/{bob.user.pk}", {"roles": ["admin"]}, format="json")
    assert second(bob, trusted=True).api.get("/organizations/other").status_code == 200
    assert bob.user.memberships.get(organization__name="other").accepted_at is None


def test_a_public_user_stays_public_without_memberships(acme, alice, member):
    bob = member(Role.UPLOAD)
    trusted = second(bob, trusted=True)
    assert alice.api.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 204
    assert bob.api.get("/user").json() == {"user_id": str(bob.user.pk)}
    assert refusal(bob.api.post("/user/apikeys")) == (403, "public_user")
    assert refusal(bob.api.put("/organizations/new", {"billing_email": "a@example.org"})) == (403, "public_user")
    assert trusted.api.get("/user/apikeys").status_code == 200
    alice.api.put(f"{MEMBERS}/{bob.user.pk}", {"roles": ["write"]}, format="json")
    assert bob.api.get("/organizations/acme").status_code == 200
    assert refusal(bob.api.get("/user/apikeys")) == (403, "public_user")


def test_a_user_who_was_not_public_is_not_without_memberships(acme, alice, member):
    bob = member(Role.WRITE)
    assert alice.api.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 204
    assert bob.api.get("/user").json()["email"] == "bob@example.org"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_key_of_a_public_user_does_not_end_that_by_changing_its_own_roles(acme, member, charlie, trusted):
    bob = member(Role.READ)
    own = f"/organizations/other/memberships/{bob.user.pk}"
    charlie.api.put(own, {"roles": ["admin"]}, format="json")
    response = (second(bob, trusted=True) if trusted else bob).api.put(own, {"roles": ["write"]}, format="json")
    assert (response.status_code, response.json()["email"]) == (200, "")
    assert bob.user.memberships.get(organization__name="other").accepted_at is None
    assert refusal(bob.api.get("/user/apikeys")) == (403, "public_user")


def test_a_public_staff_user_accepts_a_membership_in_the_admin(acme, member, charlie):
    user = member(Role.READ).user
    staff = Actor(AuditEvent.Source.STAFF, user=user)
    other = Organization.objects.get(name="other")
    membership, _ = set_roles(other, user.pk, ["write"], comment=None, actor=staff)
    assert membership.accepted_at is not None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/user/apikeys", '{"requires_mfa": true, "requires_mfa": false}'),
        (MEMBERS, '{"roles": ["read"], "roles": ["admin"]}'),
        (
            MEMBERS,
            '{"roles": ["read"], "api_key": {"expires": "2090-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}}',
        ),
    ],
)
def test_a_member_that_is_sent_twice_is_refused(acme, alice, path, body):
    before = ApiKey.objects.count()
    response = alice.api.post(path, body, content_type="application/json")
    assert refusal(response) == (400, "invalid")
    assert "twice" in response.json()["message"]
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize(
    ("path", "query"),
    [("/user/apikeys", "expires=2090-01-01T00:00:00Z"), ("/user/apikeys", "requires_mfa=1"), (MEMBERS, "role=read")],
)
def test_restrictions_in_the_url_are_refused(acme, alice, path, query):
    before = ApiKey.objects.count()
    response = alice.api.post(f"{path}?{query}", {"comment": "shop"}, format="json")
    assert refusal(response) == (400, "invalid")
    assert "in the body" in response.json()["message"]
    assert ApiKey.objects.count() == before


def test_a_public_user_leaves_with_a_trusted_key(acme, alice, member):
    bob = member(Role.READ)
    own = f"{MEMBERS}/{bob.user.pk}"
    assert refusal(bob.api.delete(own)) == (403, "public_user")
    assert second(bob, trusted=True).api.delete(own).status_code == 204
    assert not bob.user.memberships.exists()


def test_the_last_trusted_key_of_a_public_user_stays_trusted(acme, member):
    trusted = second(member(Role.READ), trusted=True)
    expired = second(trusted, trusted=True, expires=datetime(2020, 1, 1, tzinfo=UTC))
    key = own_key(trusted).pk
    assert refusal(change(trusted, key, trusted=False)) == (400, "would_lock_out")
    assert own_key(trusted).trusted
    ApiKey.objects.filter(pk=own_key(expired).pk).update(expires=None)
    assert change(trusted, key, trusted=False).status_code == 200


def test_the_last_trusted_key_can_be_given_up_by_force(acme, member):
    trusted = second(member(Role.READ), trusted=True)
    assert change(trusted, own_key(trusted).pk, "?force=1", trusted=False).status_code == 200
    assert not own_key(trusted).trusted


# --- Tokens of restricted keys ----------------------------------------------------------------------------------------


@pytest.fixture
def restricted(acme, alice) -> Person:
    return second(alice, allowed_ips=["127.0.0.0/28"], expires=datetime.now(UTC) + timedelta(days=2))


def test_a_token_of_a_restricted_key_passes_its_restrictions_on(restricted):
    made = bearer(restricted).post("/user/apikeys").json()
    key = own_key(restricted)
    assert (made["allowed_ips"], made["expires"]) == (["127.0.0.0/28"], rfc3339(key.expires))


def test_a_token_of_a_restricted_key_passes_them_on_to_new_members(restricted):
    made = bearer(restricted).post(MEMBERS, {"roles": ["admin"]}, format="json").json()
    row = ApiKey.objects.get(user=made["user_id"])
    assert (row.allowed_ips, row.expires) == (["127.0.0.0/28"], own_key(restricted).expires)


@pytest.mark.parametrize("body", [{"allowed_ips": ["127.0.0.0/27"]}, {"expires": later(days=3)}])
def test_a_token_of_a_restricted_key_makes_no_weaker_key(restricted, body):
    client = bearer(restricted)
    users = User.objects.count()
    assert refusal(client.post("/user/apikeys", body, format="json")) == (403, "less_restricted")
    member = {"roles": ["admin"], "api_key": body}
    assert refusal(client.post(MEMBERS, member, format="json")) == (403, "less_restricted")
    assert (restricted.user.api_keys.count(), User.objects.count()) == (2, users)


def test_a_token_of_a_restricted_key_makes_stricter_keys(restricted):
    body = {"allowed_ips": ["127.0.0.7"], "expires": TOMORROW}
    made = bearer(restricted).post("/user/apikeys", body, format="json").json()
    assert (made["allowed_ips"], made["expires"]) == (["127.0.0.7"], TOMORROW)


@pytest.mark.parametrize("body", [{"allowed_ips": None}, {"expires": None}, {"expires": later(days=3)}])
def test_a_token_does_not_weaken_its_own_key(restricted, body):
    key, client = own_key(restricted), bearer(restricted)
    for query in ("", "?force=true"):
        response = client.patch(f"/user/apikeys/{key.pk}{query}", body, format="json")
        assert refusal(response) == (403, "less_restricted")
    assert (own_key(restricted).allowed_ips, own_key(restricted).expires) == (key.allowed_ips, key.expires)


def test_a_token_can_restrict_a_key_that_was_less_restricted(restricted, alice):
    other = own_key(alice)
    response = bearer(restricted).patch(f"/user/apikeys/{other.pk}", {"allowed_ips": [ELSEWHERE]}, format="json")
    assert response.json()["allowed_ips"] == [ELSEWHERE]


def test_the_key_itself_makes_any_key(restricted):
    assert add(restricted, allowed_ips=[ELSEWHERE]).json()["expires"] is None


@pytest.fixture
def derived(restricted) -> Person:
    """The key that a token of a restricted key made."""
    return Person(restricted.user, bearer(restricted).post("/user/apikeys").json()["api_key"])


def test_a_key_that_a_token_made_makes_no_weaker_key_either(restricted, derived):
    """Or whoever has stolen a token would make a key, and with that one any other."""
    assert (own_key(restricted).from_token, own_key(derived).from_token) == (False, True)
    assert refusal(add(derived, allowed_ips=[ELSEWHERE])) == (403, "less_restricted")
    for key in (own_key(derived), own_key(restricted)):
        for query in ("", "?force=true"):
            assert refusal(change(derived, key.pk, query, allowed_ips=None)) == (403, "less_restricted")
            assert refusal(change(derived, key.pk, query, expires=None)) == (403, "less_restricted")
    member = {"roles": ["admin"], "api_key": {"allowed_ips": [ELSEWHERE]}}
    assert refusal(derived.api.post(MEMBERS, member, format="json")) == (403, "less_restricted")
    third = Person(derived.user, add(derived).json()["api_key"])
    assert (own_key(third).from_token, own_key(third).allowed_ips) == (True, ["127.0.0.0/28"])
    assert refusal(bearer(third).post("/user/apikeys", {"allowed_ips": [ELSEWHERE]}, format="json"))[0] == 403
    assert refusal(add(third, expires=later(days=3))) == (403, "less_restricted")


def test_a_key_of_a_member_that_a_token_made_makes_no_weaker_key(restricted):
    made = bearer(restricted).post(MEMBERS, {"roles": ["admin"]}, format="json").json()
    new = Person(User.objects.get(pk=made["user_id"]), made["api_key"])
    assert refusal(add(new, allowed_ips=[ELSEWHERE])) == (403, "less_restricted")
    member = {"roles": ["write"], "api_key": {"expires": later(days=3)}}
    assert refusal(new.api.post(MEMBERS, member, format="json")) == (403, "less_restricted")


def test_restrictions_of_two_keys_do_not_add_up_to_none(acme, alice):
    """One key is bound to addresses, the other expires: neither makes the other unrestricted."""
    bound = second(alice, allowed_ips=["127.0.0.0/28"])
    expiring = own_key(second(alice, expires=datetime.now(UTC) + timedelta(days=2)))
    response = bearer(bound).patch(f"/user/apikeys/{expiring.pk}", {"expires": None}, format="json")
    assert refusal(response) == (403, "less_restricted")
    expiring.refresh_from_db()
    assert expiring.expires is not None


def test_a_token_makes_trusted_keys_only_if_its_key_is_trusted(acme, alice):
    """A trusted key manages the account even after the user has become public."""
    other = own_key(second(alice))
    token, trusted = bearer(alice), second(alice, trusted=True)
    for response in (
        token.post("/user/apikeys", {"trusted": True}, format="json"),
        token.patch(f"/user/apikeys/{other.pk}", {"trusted": True}, format="json"),
    ):
        assert refusal(response) == (403, "less_restricted")
    derived = Person(alice.user, token.post("/user/apikeys").json()["api_key"])
    assert refusal(add(derived, trusted=True)) == (403, "less_restricted")
    assert token.patch(f"/user/apikeys/{own_key(trusted).pk}", {"expires": TOMORROW}, format="json").status_code == 200
    assert alice.user.api_keys.filter(trusted=True).count() == 1
    assert bearer(trusted).post("/user/apikeys", {"trusted": True}, format="json").json()["trusted"]
    assert change(alice, other.pk, trusted=True).json()["trusted"]


def test_a_key_of_a_new_member_can_be_trusted_by_a_token(acme, alice):
    """It manages the account of the new user, and nothing of the caller."""
    body = {"roles": ["upload"], "api_key": {"trusted": True}}
    assert bearer(alice).post(MEMBERS, body, format="json").status_code == 201


def test_what_a_token_does_with_keys_is_logged_with_its_fingerprint(acme, alice):
    client = bearer(alice)
    text = client.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    fingerprint = sha256(text.encode()).hexdigest()[:16]
    made = client.post("/user/apikeys").json()["id"]
    client.patch(f"/user/apikeys/{made}", {"expires": TOMORROW}, format="json")
    client.delete(f"/user/apikeys/{made}")
    add(alice)
    events = AuditEvent.objects.filter(action__startswith="api_key.", source="api").order_by("id")
    found = [(event.action, event.api_key_id, event.details.get("token")) for event in events]
    key = own_key(alice).pk
    assert found == [
        ("api_key.created", key, fingerprint),
        ("api_key.updated", key, fingerprint),
        ("api_key.deleted", key, fingerprint),
        ("api_key.created", key, None),
    ]
    assert events[0].details["from_token"] is True
    items = alice.api.get("/audit/acme").json()["items"]
    assert not any("token" in item["details"] for item in items)
    client.post(MEMBERS, {"roles": ["write"]}, format="json")
    assert alice.api.get("/audit/acme").json()["items"][0]["details"]["token"] == fingerprint


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 403), ("PUT", 403), ("DELETE", 204)], ids=["add", "set roles", "remove"]
)
def test_tokens_that_manage_no_keys_give_nobody_access(acme, alice, member, settings, method, status):
    bob = member(Role.WRITE)
    settings.TOKENS_MANAGE_KEYS = False
    path = MEMBERS if method == "POST" else f"{MEMBERS}/{bob.user.pk}"
    response = bearer(alice).generic(method, path, b'{"roles": ["admin"]}')
    assert response.status_code == status
    if status == 403:
        assert refusal(response) == (403, "token_not_allowed")
        assert Membership.objects.get(user=bob.user).roles == ["write"]
        assert alice.api.generic(method, path, b'{"roles": ["admin"]}').status_code < 300


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_tokens_can_be_forbidden_to_manage_keys(acme, alice, settings, method):
    other = own_key(second(alice))
    path = "/user/apikeys" if method == "POST" else f"/user/apikeys/{other.pk}"
    settings.TOKENS_MANAGE_KEYS = False
    response = bearer(alice).generic(method, path, b'{"trusted": true}')
    assert refusal(response) == (403, "token_not_allowed")
    assert "invalid_authentication" not in response.json()
    assert list(alice.user.api_keys.values_list("trusted", flat=True)) == [False, False]
    assert alice.api.generic(method, path, b'{"trusted": true}').status_code < 300


def test_tokens_can_still_see_keys_then(acme, alice, settings):
    settings.TOKENS_MANAGE_KEYS = False
    assert len(bearer(alice).get("/user/apikeys").json()) == 1


# --- Rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("inner", "outer", "allowed"),
    [
        ((), (), True),
        (("192.0.2.7",), (), True),
        ((), ("192.0.2.7",), False),
        (("192.0.2.7",), ("192.0.2.0/24",), True),
        (("192.0.2.0/24",), ("192.0.2.7",), False),
        (("192.0.2.7", "2001:db8::7"), ("192.0.2.0/24",), False),
    ],
)
def test_addresses_are_as_strict_as_the_limit_or_refused(inner, outer, allowed):
    if allowed:
        Restrictions(inner).check_at_least(Restrictions(outer))
    else:
        with pytest.raises(LessRestricted):
            Restrictions(inner).check_at_least(Restrictions(outer))


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("entry", "parsed"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.9/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"),
    ],
)
def test_addresses_are_stored_in_one_form(entry, parsed):
    assert parse_allowed_ips([entry, entry]) == (parsed,)


@pytest.mark.any_database
@pytest.mark.parametrize("entry", ["2001:db8::7/128", "192.0.2.0/33", "fe80::1%eth0/64", "7", "*", "192.0.2"])
def test_other_forms_of_addresses_are_refused(entry):
    with pytest.raises(InvalidInput):
        parse_allowed_ips([entry])
