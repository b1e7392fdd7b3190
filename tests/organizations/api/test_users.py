"""Sign-up, API keys and the account."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from organizations.models import ApiKey, AuditEvent, Membership, Organization, User
from organizations.permissions import Role
from tests.conftest import Person

pytestmark = pytest.mark.any_database


def sign_up(**fields):
    return APIClient().post("/users", fields, format="json")


def test_signing_up_gives_a_key_that_works(db):
    body = sign_up(email="dora@example.org").json()
    user = User.objects.get()
    assert body == {"id": str(user.pk), "email": "dora@example.org", "api_key": body["api_key"]}
    assert re.fullmatch(user.pk.hex + "[0-9A-Za-z]{32}", body["api_key"])
    assert APIClient(headers={"Api-Key": body["api_key"]}).get("/user").json()["user_id"] == body["id"]


@pytest.mark.parametrize("organization", [None, ""])
def test_signing_up_needs_no_organization(db, organization):
    assert sign_up(email="dora@example.org", organization=organization).status_code == 200
    assert not Organization.objects.exists()


def test_signing_up_with_an_organization_makes_its_admin(db):
    body = sign_up(email="dora@example.org", organization="shop").json()
    membership = Membership.objects.get(organization__name="shop")
    assert (str(membership.user_id), membership.roles) == (body["id"], ["admin"])
    assert Organization.objects.get().billing_email == "dora@example.org"
    assert {event.action for event in AuditEvent.objects.all()} == {
        "user.created",
        "api_key.created",
        "organization.created",
    }
    assert AuditEvent.objects.get(action="organization.created").user_id == membership.user_id


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"email": "dora"}, "invalid"),
        ({"email": "a@b@c.example"}, "invalid"),
        ({"email": "x" * 250 + "@example.org"}, "invalid"),
        ({"email": None}, "invalid"),
        ({"email": 7}, "invalid"),
        ({}, "invalid"),
        ({"email": "dora@example.org", "organization": "acme"}, "organization_name_taken"),
        ({"email": "dora@example.org", "organization": "Shop"}, "invalid_organization_name"),
        ({"email": "dora@example.org", "organization": "x" * 64}, "invalid_organization_name"),
        ({"email": "dora@example.org", "organization": ["shop"]}, "invalid"),
    ],
)
def test_a_refused_sign_up_names_the_reason_and_stores_nothing(acme, fields, reason):
    users, events = User.objects.count(), AuditEvent.objects.count()
    response = sign_up(**fields)
    assert response.status_code == 400
    assert response.json()["error"]["reason"] == reason
    assert (User.objects.count(), AuditEvent.objects.count(), Organization.objects.count()) == (users, events, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{",
        b"\xff",
        b'{"email": "\\ud800@example.org"}',
        b'{"email": "a\\u0000@example.org"}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_body_is_a_client_error(db, body):
    response = APIClient().generic("POST", "/users", body, "text/plain")
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_json_is_read_under_any_content_type(db):
    body = b'{"email": "dora@example.org"}'
    for kind in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "image/png", ""):
        assert APIClient().generic("POST", "/users", body, kind).status_code == 200


def test_signing_up_can_be_switched_off(db, settings):
    settings.SIGNUP_ENABLED = False
    response = sign_up(email="dora@example.org")
    assert response.status_code == 403
    assert response.json()["error"]["reason"] == "signup_disabled"
    assert "invalid_authentication" not in response.json()
    assert not User.objects.exists()


def test_a_user_sees_its_account_and_keys(acme, alice):
    body = alice.api.get("/user").json()
    key = alice.user.api_keys.get()
    assert body["user_id"] == str(alice.user.pk)
    assert body["email"] == "alice@example.org"
    assert [one["id"] for one in body["api_keys"]] == [str(key.pk)]
    assert alice.key not in str(body)


@pytest.mark.parametrize("role", [Role.READ, Role.UPLOAD, Role.IMAGES_READ])
def test_a_public_user_sees_only_its_id(acme, member, role):
    person = member(Role.WRITE, role)
    assert person.api.get("/user").json() == {"user_id": str(person.user.pk)}
    for method, path in (
        ("GET", "/user/apikeys"),
        ("POST", "/user/apikeys"),
        ("GET", "/user/apikeys/current"),
        ("DELETE", f"/user/apikeys/{person.user.api_keys.get().pk}"),
        ("GET", "/user/memberships"),
        ("PUT", "/organizations/new"),
    ):
        response = person.api.generic(method, path)
        assert (response.status_code, response.json()["error"]["reason"]) == (403, "public_user")
    assert person.user.api_keys.count() == 1


def test_keys_are_a_plain_array_and_never_shown_again(acme, alice):
    added = alice.api.post("/user/apikeys", {"comment": "shop"}, format="json")
    assert added.status_code == 201
    key = added.json()["api_key"]
    listed = alice.api.get("/user/apikeys")
    assert [one["comment"] for one in listed.json()] == [None, "shop"]
    assert key not in listed.content.decode()
    assert added.json() == {**listed.json()[1], "api_key": key}
    assert Person(alice.user, key).api.get("/user/apikeys/current").json()["id"] == added.json()["id"]


@pytest.mark.parametrize(
    ("body", "comment"),
    [
        (b"", ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'{"comment": null}', ""),
        (b'{"comment": ""}', ""),
        (b'{"comment": "shop"}', "shop"),
        (b'{"comment": ["shop", "two"]}', "shop two"),
    ],
)
def test_a_comment_comes_in_every_form(acme, alice, body, comment):
    response = alice.api.generic("POST", "/user/apikeys", body, "application/json")
    assert response.status_code == 201
    assert ApiKey.objects.get(pk=response.json()["id"]).comment == comment


@pytest.mark.parametrize("comment", [{"a": 1}, ["a", 1], "x" * 256, "a\0b"])
def test_a_comment_is_text(acme, alice, comment):
    assert alice.api.post("/user/apikeys", {"comment": comment}, format="json").status_code == 400
    assert alice.user.api_keys.count() == 1


def test_a_sixth_key_is_refused(acme, alice):
    for _ in range(4):
        assert alice.api.post("/user/apikeys").status_code == 201
    response = alice.api.post("/user/apikeys")
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "too_many_keys")
    assert alice.user.api_keys.count() == 5


def test_a_deleted_key_is_invalid(acme, alice):
    added = alice.api.post("/user/apikeys").json()
    other = Person(alice.user, added["api_key"])
    assert alice.api.delete(f"/user/apikeys/{added['id']}").status_code == 204
    assert other.api.get("/user").json()["invalid_authentication"] is True
    assert alice.api.delete(f"/user/apikeys/{added['id']}").status_code == 404


def test_an_answer_without_a_body_has_no_content_type(acme, alice):
    added = alice.api.post("/user/apikeys").json()
    response = alice.api.delete(f"/user/apikeys/{added['id']}")
    assert response.content == b""
    assert "Content-Type" not in response.headers


@pytest.mark.parametrize("key_id", ["nothing", "7", "00000000-0000-0000-0000-000000000000", "é"])
def test_a_key_of_another_user_cannot_be_deleted(acme, alice, charlie, key_id):
    assert alice.api.delete(f"/user/apikeys/{key_id}").json()["error"]["reason"] == "key_not_found"
    assert alice.api.delete(f"/user/apikeys/{charlie.user.api_keys.get().pk}").status_code == 404
    assert charlie.api.get("/user").status_code == 200


def test_the_key_in_use_stays(acme, alice):
    response = alice.api.delete(f"/user/apikeys/{alice.user.api_keys.get().pk}")
    assert (response.status_code, response.json()["error"]["reason"]) == (409, "key_in_use")
    assert alice.api.get("/user").status_code == 200


def test_memberships_are_seen_by_their_member(acme, member):
    person = member(Role.WRITE)
    body = person.api.get("/user/memberships").json()
    assert body["total"] == 1
    membership = Membership.objects.get(user=person.user)
    assert body["items"] == [
        {
            "organization": "acme",
            "organization_id": str(acme.pk),
            "display_name": "acme",
            "roles": ["write"],
            "active": True,
            "created": membership.created.isoformat(timespec="seconds"),
            "last_access": None,
            "comment": None,
        }
    ]


def test_use_is_noted_once_a_day_and_not_on_every_request(uploaded, alice, django_assert_num_queries):
    key, membership = alice.user.api_keys.get(), Membership.objects.get(user=alice.user)
    assert abs(key.accessed - timezone.now()) < timedelta(minutes=1)
    assert abs(membership.last_access - timezone.now()) < timedelta(minutes=1)
    with django_assert_num_queries(2):  # credentials and the image
        assert alice.api.get(f"/sourceimages/acme/{uploaded.hash}").status_code == 200
    long_ago = timezone.now() - timedelta(hours=25)
    ApiKey.objects.update(accessed=long_ago)
    Membership.objects.update(last_access=long_ago)
    alice.api.get(f"/sourceimages/acme/{uploaded.hash}")
    key.refresh_from_db()
    membership.refresh_from_db()
    assert key.accessed > long_ago
    assert membership.last_access > long_ago


def test_an_account_call_notes_the_key_too(acme, alice):
    alice.api.get("/user")
    assert alice.api.get("/user/apikeys/current").json()["accessed"]
