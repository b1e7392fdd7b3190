"""Rate limits: per key, organization and address; uploads are never limited; no request is lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from rest_framework.test import APIClient

from organizations.permissions import Role
from rokka.core import ratelimits
from rokka.core.errors import TooManyRequests
from rokka.core.ratelimits import Limit
from tests.support import images

NOW = "2026-05-01T12:00:10Z"


@pytest.fixture(autouse=True)
def still():
    """Freeze time, so that no window ends during a test."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


@pytest.fixture
def few(settings):
    settings.RATE_LIMIT_PER_KEY = 3
    settings.RATE_LIMIT_AUTH_FAILURES = 3
    settings.RATE_LIMIT_PER_ADDRESS = 3
    settings.RATE_LIMIT_SIGNUPS = 2


def test_responses_have_the_remaining_requests(acme, alice, few):
    left = [alice.api.get("/sourceimages/acme").headers["X-RateLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    assert alice.api.get("/sourceimages/acme").headers["X-RateLimit-Limit"] == "3"


def test_too_many_requests_have_a_retry_time(acme, alice, few, still):
    for _ in range(3):
        alice.api.get("/sourceimages/acme")
    response = alice.api.get("/sourceimages/acme")
    assert response.status_code == 429
    body = response.json()
    assert body["error"] == {"code": 429, "message": body["message"], "reason": "too_many_requests"}
    assert body["status"] == "too many requests"
    assert response.headers["Retry-After"] == "51"
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert int(response.headers["X-RateLimit-Retry-After"]) == 1777636861
    assert body["X-RateLimit-Retry-After-readable"] == "2026-05-01T12:01:01+00:00"
    still.shift(51)
    assert alice.api.get("/sourceimages/acme").status_code == 200


def test_keys_are_counted_by_themselves(acme, alice, member, few):
    for _ in range(4):
        alice.api.get("/sourceimages/acme")
    assert member(Role.READ).api.get("/sourceimages/acme").status_code == 200


def test_an_organization_is_counted_over_all_its_keys_and_not_by_strangers(acme, alice, member, charlie, settings):
    settings.RATE_LIMIT_PER_ORGANIZATION = 2
    for _ in range(5):
        assert charlie.api.get("/sourceimages/acme").status_code == 403
    bob = member(Role.READ)
    statuses = [person.api.get("/sourceimages/acme").status_code for person in (alice, bob, alice)]
    assert statuses == [200, 200, 429]
    assert charlie.api.get("/sourceimages/other").status_code == 200


def test_uploads_are_never_refused_for_their_number(acme, alice, few):
    for seed in range(5):
        assert alice.upload(acme, images.png(seed=seed)).status_code == 200
    assert alice.api.get("/sourceimages/acme").headers["X-RateLimit-Remaining"] == "2"
    for _ in range(5):
        nobody = APIClient(headers={"Api-Key": "wrong"}).post("/sourceimages/acme")
        assert nobody.status_code == 403


def test_unknown_keys_and_bad_tokens_are_counted_per_address(acme, alice, few):
    def attempt(address: str, **headers: str) -> int:
        return APIClient(headers=headers).get("/user", REMOTE_ADDR=address).status_code

    assert [attempt("192.0.2.1", **{"Api-Key": f"wrong{n}"}) for n in range(3)] == [403, 403, 403]
    assert attempt("192.0.2.1", **{"Api-Key": "wrong"}) == 429
    assert attempt("192.0.2.1", Authorization="Bearer x") == 429
    assert attempt("192.0.2.2", **{"Api-Key": "wrong"}) == 403
    # Valid keys from the same address must not be locked out.
    assert alice.api.get("/user", REMOTE_ADDR="192.0.2.1").status_code == 200


def test_public_calls_are_counted_per_address(db, few):
    statuses = [APIClient().get("/operations", REMOTE_ADDR="192.0.2.1").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert APIClient().get("/operations", REMOTE_ADDR="192.0.2.2").status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "counted_together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_ipv6_addresses_of_one_network_are_counted_together(db, settings, first, second, counted_together):
    settings.RATE_LIMIT_PER_ADDRESS = 1
    statuses = [APIClient().get("/operations", REMOTE_ADDR=address).status_code for address in (first, second)]
    assert statuses == [200, 429 if counted_together else 200]


def test_unknown_keys_are_counted_by_ipv6_network(db, settings):
    settings.RATE_LIMIT_AUTH_FAILURES = 1
    unknown = APIClient(headers={"Api-Key": "wrong"})
    assert [unknown.get("/user", REMOTE_ADDR=f"2001:db8::{host}").status_code for host in (1, 2)] == [403, 429]


def test_sign_ups_are_counted_by_ipv6_network(db, settings):
    settings.RATE_LIMIT_SIGNUPS = 1
    first, second = (
        APIClient().post("/users", {"email": "a@example.org"}, format="json", REMOTE_ADDR=f"2001:db8::{host}")
        for host in (1, 2)
    )
    assert (first.status_code, second.status_code) == (200, 429)


def test_sign_ups_are_counted_per_address(db, few):
    statuses = [APIClient().post("/users", {"email": "a@example.org"}, format="json").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_limits_can_be_switched_off(acme, alice, few, settings):
    settings.RATE_LIMIT_ENABLED = False
    responses = [alice.api.get("/sourceimages/acme") for _ in range(5)]
    assert {response.status_code for response in responses} == {200}
    assert "X-RateLimit-Limit" not in responses[0].headers


def test_no_request_is_lost_between_two(settings):
    settings.RATE_LIMIT_PER_KEY = 1000
    limit = Limit("RATE_LIMIT_PER_KEY")
    with ThreadPoolExecutor(8) as pool:
        left = list(pool.map(lambda _: ratelimits.hit((limit, "somebody")).remaining, range(800)))
    assert sorted(left) == list(range(200, 1000))


def test_requests_are_not_limited_without_redis(acme, alice, settings, few):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    ratelimits.shared_redis.cache_clear()
    try:
        for _ in range(5):
            assert alice.api.get("/sourceimages/acme").status_code == 200
    finally:
        ratelimits.shared_redis.cache_clear()


def test_checking_does_not_count(few):
    limit = Limit("RATE_LIMIT_AUTH_FAILURES")
    for _ in range(5):
        ratelimits.peek(limit, "somebody")
    for _ in range(3):
        ratelimits.hit((limit, "somebody"))
    with pytest.raises(TooManyRequests):
        ratelimits.peek(limit, "somebody")


def test_wrong_passwords_are_counted_per_address(db, client, few, django_user_model):
    django_user_model.objects.create_superuser("staff", "a long password", email="staff@example.org")

    def log_in(password: str, address: str) -> str:
        return client.post(
            "/admin/login/", {"username": "staff", "password": password}, REMOTE_ADDR=address
        ).content.decode()

    for _ in range(3):
        assert "Please enter the correct" in log_in("wrong", "192.0.2.1")
    assert "Too many failed attempts" in log_in("a long password", "192.0.2.1")
    assert log_in("a long password", "192.0.2.2") == ""  # logged in


def test_wrong_passwords_are_counted_by_ipv6_network(db, client, settings, django_user_model):
    settings.RATE_LIMIT_AUTH_FAILURES = 1
    django_user_model.objects.create_superuser("staff", "a long password", email="staff@example.org")
    for password, address in (("wrong", "2001:db8::1"), ("a long password", "2001:db8::2")):
        form = {"username": "staff", "password": password}
        page = client.post("/admin/login/", form, REMOTE_ADDR=address).content.decode()
    assert "Too many failed attempts" in page
