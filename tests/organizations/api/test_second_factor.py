"""Second factors: setting up, codes, and keys that require them."""

import json
from datetime import UTC, datetime, timedelta

import jwt
import pyotp
import pytest
import time_machine
from django.core.management import call_command
from rest_framework.test import APIClient

from organizations.audit import COMMAND
from organizations.auth import second_factor
from organizations.models import ApiKey, AuditEvent, SecondFactor, User
from organizations.operations import create_key
from organizations.operations.second_factor import MAX_ATTEMPTS, PERIOD
from organizations.permissions import Role
from tests.conftest import Person

pytestmark = pytest.mark.any_database

PATH, CONFIRM, TOKEN = "/user/mfa/totp", "/user/mfa/totp/confirm", "/user/apikeys/token"
MEMBERS = "/organizations/acme/memberships"
START = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock():
    """Time stands still: codes change only if a test moves it."""
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def code(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(datetime.now(UTC), counter_offset=steps)


def wrong(secret: str) -> str:
    valid = {code(secret, steps) for steps in (-1, 0, 1)}
    return next(text for text in ("000000", "111111", "222222", "333333") if text not in valid)


def send(client: APIClient, path: str, method: str = "POST", **body):
    return client.generic(method, path, json.dumps(body).encode(), "application/json")


def refusal(response) -> tuple[int, str]:
    body = response.json()
    assert body["error"]["reason"] == body["reason"]
    return response.status_code, body["reason"]


@pytest.fixture
def secret(acme, alice, clock) -> str:
    """Alice has a second factor; its first code was used a minute ago."""
    secret = send(alice.api, PATH).json()["secret"]
    assert send(alice.api, CONFIRM, totp=code(secret)).status_code == 200
    clock.shift(timedelta(minutes=1))
    return str(secret)


def second(person: Person, **fields) -> Person:
    row, key = create_key(person.user, comment="", actor=COMMAND)
    ApiKey.objects.filter(pk=row.pk).update(**fields)
    return Person(person.user, key)


def bearer(token: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"})


# --- Setting up -------------------------------------------------------------------------------------------------------


def test_a_user_has_no_second_factor_at_first(acme, alice):
    assert alice.api.get(PATH).json() == {"state": "none", "confirmed": None}


def test_a_second_factor_is_set_up_and_confirmed(acme, alice):
    response = send(alice.api, PATH)
    body = response.json()
    assert (response.status_code, body["state"]) == (200, "pending")
    parsed = pyotp.parse_uri(body["provisioning_uri"])
    assert (parsed.secret, parsed.name, parsed.issuer) == (body["secret"], "alice@example.org", "rokka")
    assert alice.api.get(PATH).json() == {"state": "pending", "confirmed": None}
    active = {"state": "active", "confirmed": "2026-03-05T09:30:00+00:00"}
    assert send(alice.api, CONFIRM, totp=code(body["secret"])).json() == active
    assert alice.api.get(PATH).json() == active


def test_a_pending_second_factor_is_replaced(acme, alice):
    first, then = (send(alice.api, PATH).json()["secret"] for _ in range(2))
    assert first != then
    assert refusal(send(alice.api, CONFIRM, totp=code(first))) == (401, "totp_invalid")
    assert send(alice.api, CONFIRM, totp=code(then)).status_code == 200
    assert SecondFactor.objects.count() == 1


def test_an_active_second_factor_is_not_replaced(alice, secret):
    stored = SecondFactor.objects.get().encrypted_secret
    assert refusal(send(alice.api, PATH)) == (409, "totp_active")
    assert refusal(send(alice.api, CONFIRM, totp=code(secret))) == (409, "totp_active")
    assert SecondFactor.objects.get().encrypted_secret == stored


@pytest.mark.parametrize(
    "body", [{}, {"totp": None}, {"totp": ""}, {"totp": []}, {"code": "123456"}, {"totp": "1" * 21}]
)
def test_a_code_is_required(acme, alice, body):
    send(alice.api, PATH)
    assert send(alice.api, CONFIRM, **body).status_code == 400
    assert send(alice.api, PATH, "DELETE", **body).status_code == 400
    assert SecondFactor.objects.get().state == "pending"


@pytest.mark.parametrize("text", ["abcdef", "12345", "１２３４５６", "é"])
def test_a_code_that_is_no_number_is_wrong(acme, alice, text):
    send(alice.api, PATH)
    assert refusal(send(alice.api, CONFIRM, totp=text)) == (401, "totp_invalid")


def test_the_secret_is_encrypted_and_in_no_event(alice, secret):
    factor = SecondFactor.objects.get()
    assert secret not in factor.encrypted_secret
    assert second_factor.decrypt(factor.encrypted_secret) == secret
    events = AuditEvent.objects.filter(action__startswith="second_factor").order_by("id")
    assert [event.action for event in events] == ["second_factor.created", "second_factor.confirmed"]
    assert secret not in str(list(AuditEvent.objects.values()))


def test_a_second_factor_belongs_to_its_user(alice, secret, charlie):
    assert charlie.api.get(PATH).json()["state"] == "none"
    assert refusal(send(charlie.api, PATH, "DELETE", totp=code(secret))) == (401, "totp_invalid")
    assert refusal(send(charlie.api, TOKEN, totp=code(secret))) == (401, "totp_invalid")
    assert alice.api.get(PATH).json()["state"] == "active"


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", PATH), ("POST", CONFIRM), ("DELETE", PATH)])
def test_public_users_have_none_without_a_trusted_key(acme, member, method, path):
    bob = member(Role.READ)
    assert refusal(send(bob.api, path, method, totp="123456")) == (403, "public_user")
    assert not SecondFactor.objects.exists()


def test_a_trusted_key_of_a_public_user_sets_it_up(acme, member):
    trusted = second(member(Role.READ), trusted=True).api
    secret = send(trusted, PATH).json()["secret"]
    assert send(trusted, CONFIRM, totp=code(secret)).json()["state"] == "active"


def test_tokens_can_be_forbidden_to_set_it_up(acme, alice, settings):
    settings.TOKENS_MANAGE_KEYS = False
    client = bearer(alice.api.get(TOKEN).json()["token"])
    for method, path in (("POST", PATH), ("POST", CONFIRM), ("DELETE", PATH)):
        assert refusal(send(client, path, method, totp="123456")) == (403, "token_not_allowed")
    assert not SecondFactor.objects.exists()


# --- Codes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_accepted_a_step_early_or_late(alice, secret, clock, steps, accepted):
    clock.shift(timedelta(minutes=5))
    assert send(alice.api, TOKEN, totp=code(secret, steps)).status_code == (200 if accepted else 401)


def test_a_code_is_accepted_once(alice, secret):
    sent = code(secret)
    assert send(alice.api, TOKEN, totp=sent).status_code == 200
    assert refusal(send(alice.api, TOKEN, totp=sent)) == (401, "totp_invalid")
    assert refusal(send(alice.api, PATH, "DELETE", totp=sent)) == (401, "totp_invalid")


def test_an_older_code_is_not_accepted_after_a_newer_one(alice, secret):
    assert send(alice.api, TOKEN, totp=code(secret)).status_code == 200
    assert refusal(send(alice.api, TOKEN, totp=code(secret, -1))) == (401, "totp_invalid")


def test_a_code_is_not_used_up_by_an_invalid_request(alice, secret):
    sent = code(secret)
    for query in ("?ips=nowhere", "?expires_in=soon"):
        assert send(alice.api, TOKEN + query, totp=sent).status_code == 400
    assert send(alice.api, TOKEN, totp=sent).status_code == 200


def test_wrong_codes_are_limited_per_user(alice, secret, clock):
    for _ in range(MAX_ATTEMPTS):
        assert refusal(send(alice.api, TOKEN, totp=wrong(secret))) == (401, "totp_invalid")
    response = send(second(alice).api, TOKEN, totp=code(secret))
    assert refusal(response) == (401, "totp_rate_limited")
    assert 0 < int(response["Retry-After"]) <= PERIOD.total_seconds() + 1
    clock.shift(timedelta(seconds=int(response["Retry-After"])))
    assert send(alice.api, TOKEN, totp=code(secret)).status_code == 200


def test_wrong_codes_of_one_user_do_not_limit_another(alice, secret, charlie):
    other = send(charlie.api, PATH).json()["secret"]
    for _ in range(MAX_ATTEMPTS + 1):
        send(alice.api, TOKEN, totp=wrong(secret))
    assert send(charlie.api, CONFIRM, totp=code(other)).status_code == 200


def test_the_public_key_of_a_user_does_not_block_the_codes_of_its_trusted_key(acme, member):
    bob = member(Role.READ)
    trusted = second(bob, trusted=True).api
    secret = send(trusted, PATH).json()["secret"]
    send(trusted, CONFIRM, totp=code(secret))
    for _ in range(MAX_ATTEMPTS + 1):
        assert refusal(send(bob.api, TOKEN, totp=wrong(secret))) == (401, "totp_invalid")
    assert send(trusted, TOKEN, totp=code(secret, 1)).status_code == 200


def test_a_right_code_starts_the_count_again(alice, secret, clock):
    for _ in range(2):
        for _ in range(MAX_ATTEMPTS - 1):
            send(alice.api, TOKEN, totp=wrong(secret))
        assert send(alice.api, TOKEN, totp=code(secret)).status_code == 200
        clock.shift(timedelta(seconds=30))


def test_no_code_is_needed_by_keys_that_do_not_require_one(alice, secret):
    assert send(alice.api, TOKEN).status_code == 200
    assert alice.api.get("/user").status_code == 200


# --- Keys that require one --------------------------------------------------------------------------------------------

PATHS = ["/", "/user", "/user/apikeys", "/sourceimages/acme", "/sourceimages/nobody", TOKEN, PATH]


@pytest.mark.parametrize("path", PATHS)
def test_a_key_that_requires_a_code_is_good_for_nothing_else(alice, secret, path):
    response = second(alice, requires_mfa=True).api.get(path)
    assert refusal(response) == (401, "mfa_required")
    assert response.json()["invalid_authentication"] is True


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("POST", CONFIRM), ("DELETE", PATH)])
def test_a_key_that_requires_a_code_does_not_change_the_second_factor(alice, secret, method, path):
    response = send(second(alice, requires_mfa=True).api, path, method, totp=code(secret))
    assert refusal(response) == (401, "mfa_required")
    assert SecondFactor.objects.get().state == "active"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_code_in_the_url_is_refused_as_such(alice, secret, method):
    response = second(alice, requires_mfa=True).api.generic(method, f"{TOKEN}?totp={code(secret)}")
    assert refusal(response) == (400, "invalid")


def test_a_key_that_requires_a_code_is_exchanged_for_a_token(alice, secret):
    person = second(alice, requires_mfa=True)
    assert refusal(send(person.api, TOKEN)) == (401, "mfa_required")
    assert refusal(send(person.api, TOKEN, totp=wrong(secret))) == (401, "totp_invalid")
    made = send(person.api, TOKEN, totp=code(secret)).json()
    assert made["payload"]["mfa"] is True
    renewed = send(bearer(made["token"]), TOKEN).json()
    for token in (made["token"], renewed["token"]):
        assert bearer(token).get("/sourceimages/acme").status_code == 200
        assert bearer(token).get("/user").status_code == 200


def test_older_tokens_without_a_code_stop_working_at_once(alice, secret):
    person = second(alice)
    token = send(person.api, TOKEN).json()["token"]
    ApiKey.objects.filter(digest=ApiKey.digest_of(person.key)).update(requires_mfa=True)
    for path in ("/user", "/sourceimages/acme", TOKEN):
        assert refusal(bearer(token).get(path)) == (401, "mfa_required")
    assert refusal(send(bearer(token), TOKEN)) == (401, "mfa_required")


def test_a_forged_claim_is_worth_nothing(alice, secret):
    person = second(alice, requires_mfa=True)
    key = ApiKey.objects.get(digest=ApiKey.digest_of(person.key))
    claims = {"id": str(alice.user.pk), "key": str(key.pk), "exp": 9e9, "expt": 60, "ips": [], "rn": True, "mfa": True}
    assert refusal(bearer(jwt.encode(claims, "x" * 40, "HS256")).get("/user")) == (401, "invalid_token")


@pytest.mark.parametrize("path", [*PATHS[:-1]])
def test_a_key_without_the_second_factor_it_requires_can_only_set_it_up(acme, alice, path):
    api = second(alice, requires_mfa=True).api
    assert refusal(api.get(path)) == (401, "mfa_enrollment_required")
    assert refusal(send(api, TOKEN, totp="123456")) == (401, "mfa_enrollment_required")
    assert refusal(send(api, PATH, "DELETE", totp="123456")) == (401, "mfa_enrollment_required")
    secret = send(api, PATH).json()["secret"]
    assert send(api, CONFIRM, totp=code(secret)).status_code == 200
    assert refusal(api.get(path)) == (401, "mfa_required")


def test_a_key_is_made_to_require_a_code(alice, secret):
    other = second(alice)
    key = ApiKey.objects.get(digest=ApiKey.digest_of(other.key))
    changed = alice.api.patch(f"/user/apikeys/{key.pk}", {"requires_mfa": True}, format="json").json()
    assert (changed["requires_mfa"], changed["totp_state"]) == (True, "active")
    assert refusal(other.api.get("/user")) == (401, "mfa_required")
    added = alice.api.post("/user/apikeys", {"requires_mfa": True}, format="json").json()
    assert added["requires_mfa"] is True
    assert refusal(Person(alice.user, added["api_key"]).api.get("/user")) == (401, "mfa_required")


def test_the_key_of_the_request_does_not_require_a_second_factor_that_is_not_there(acme, alice):
    path = f"/user/apikeys/{alice.user.api_keys.get().pk}"
    assert refusal(alice.api.patch(path, {"requires_mfa": True}, format="json")) == (400, "would_lock_out")
    assert alice.api.get("/user").status_code == 200
    assert alice.api.patch(f"{path}?force=true", {"requires_mfa": True}, format="json").status_code == 200
    assert refusal(alice.api.get("/user")) == (401, "mfa_enrollment_required")


def test_a_token_of_such_a_key_makes_only_such_keys(alice, secret):
    person = second(alice, requires_mfa=True)
    client = bearer(send(person.api, TOKEN, totp=code(secret)).json()["token"])
    assert client.post("/user/apikeys", {}, format="json").json()["requires_mfa"] is True
    key = ApiKey.objects.get(digest=ApiKey.digest_of(person.key))
    response = client.patch(f"/user/apikeys/{key.pk}?force=true", {"requires_mfa": False}, format="json")
    assert refusal(response) == (403, "less_restricted")
    assert ApiKey.objects.get(pk=key.pk).requires_mfa


@pytest.mark.parametrize(
    ("roles", "trusted", "status"),
    [(["read"], False, 400), (["write", "upload"], False, 400), (["read"], True, 201), (["write"], False, 201)],
)
def test_a_public_member_can_set_up_what_its_key_requires(acme, alice, roles, trusted, status):
    users = User.objects.count()
    body = {"roles": roles, "api_key": {"requires_mfa": True, "trusted": trusted}}
    response = alice.api.post(MEMBERS, body, format="json")
    assert response.status_code == status
    assert User.objects.count() == users + (status == 201)
    if status == 201:
        new = APIClient(headers={"Api-Key": response.json()["api_key"]})
        assert send(new, PATH).json()["state"] == "pending"


# --- Removing ---------------------------------------------------------------------------------------------------------


def test_a_second_factor_is_removed_with_a_code_and_no_key_requires_it(alice, secret):
    person = second(alice, requires_mfa=True)
    assert refusal(send(alice.api, PATH, "DELETE", totp=wrong(secret))) == (401, "totp_invalid")
    assert alice.api.get(PATH).json()["state"] == "active"
    assert send(alice.api, PATH, "DELETE", totp=code(secret)).status_code == 204
    assert alice.api.get(PATH).json() == {"state": "none", "confirmed": None}
    assert person.api.get("/user").status_code == 200
    assert AuditEvent.objects.get(action="second_factor.deleted").details == {"keys": 1}


def test_operators_remove_a_lost_one(alice, secret, charlie):
    person = second(alice, requires_mfa=True)
    send(charlie.api, PATH)
    call_command("remove_second_factor", str(alice.user.pk))
    assert person.api.get("/user").status_code == 200
    assert [factor.user for factor in SecondFactor.objects.all()] == [charlie.user]


# --- Encryption -------------------------------------------------------------------------------------------------------


def test_a_secret_outlives_the_rotation_of_the_servers_secrets_if_it_is_used(alice, secret, settings, clock):
    old = settings.TOKEN_SECRETS
    settings.TOKEN_SECRETS = ["n" * 40, *old]
    assert send(alice.api, TOKEN, totp=code(secret)).status_code == 200
    clock.shift(timedelta(minutes=1))
    settings.TOKEN_SECRETS = ["n" * 40]
    assert send(alice.api, TOKEN, totp=code(secret)).status_code == 200


def test_without_the_servers_secret_no_code_is_valid(alice, secret, settings):
    settings.TOKEN_SECRETS = ["n" * 40]
    assert refusal(send(alice.api, TOKEN, totp=code(secret))) == (401, "totp_invalid")


def test_the_key_of_the_encryption_is_not_the_secret_of_the_server(settings):
    settings.TOKEN_SECRETS = ["n" * 40]
    assert second_factor.encrypt("ABC") != second_factor.encrypt("ABC")
    assert second_factor.decrypt(second_factor.encrypt("ABC")) == "ABC"
    assert b"n" * 20 not in second_factor._derived_key("n" * 40)
