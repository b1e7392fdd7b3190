"""Tokens: their content, their validity, and that renewing never extends them."""

import ipaddress
import time
from datetime import timedelta
from uuid import uuid4

import jwt
import pytest
import time_machine
from hypothesis import assume, given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from organizations.auth import tokens
from organizations.auth.tokens import Token, TokenRequest
from organizations.errors import TokenNotRenewable
from organizations.models import ApiKey, User
from organizations.operations import create_key
from rokka.core.errors import InvalidInput, InvalidToken
from tests.conftest import Person

pytestmark = pytest.mark.any_database

HERE = "127.0.0.1"


def ask(client, query: str = "", **headers: str):
    return client.get(f"/user/apikeys/token?{query}", headers=headers)


def bearer(token: str, **extra: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"}, **extra)


def test_a_token_says_what_its_payload_says(acme, alice, settings):
    body = ask(alice.api).json()
    claims = jwt.decode(body["token"], settings.TOKEN_SECRETS[0], ["HS256"])
    assert claims == body["payload"]
    assert body["payload"] == {
        "id": str(alice.user.pk),
        "key": str(alice.user.api_keys.get().pk),
        "exp": pytest.approx(time.time() + 86400, abs=5),
        "expt": 86400,
        "ips": [HERE],
        "rn": True,
    }
    assert jwt.get_unverified_header(body["token"])["alg"] == "HS256"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("expires_in=60", {"expt": 60, "rn": True, "ips": [HERE]}),
        ("no_ip_protection=true", {"ips": [], "rn": False}),
        ("no_ip_protection=1&renewable=1", {"ips": [], "rn": True}),
        ("renewable=false", {"rn": False, "ips": [HERE]}),
        ("renewable", {"rn": True}),
        ("ips=request_ip,", {"ips": [HERE]}),
        ("ips=192.0.2.7,request_ip,192.0.2.7,,127.0.0.1", {"ips": ["192.0.2.7", HERE]}),
        ("ips=192.0.2.0/24,2001:db8::/120", {"ips": ["192.0.2.0/24", "2001:db8::/120"]}),
        ("ips=::ffff:192.0.2.7", {"ips": ["192.0.2.7"]}),
        ("ips=192.0.2.9/24", {"ips": ["192.0.2.0/24"]}),
    ],
)
def test_a_token_is_what_was_asked_for(acme, alice, query, expected):
    payload = ask(alice.api, query).json()["payload"]
    assert {name: payload[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("expires_in=0", "expires_in"),
        ("expires_in=-5", "expires_in"),
        ("expires_in=soon", "expires_in"),
        ("expires_in=99999999999999999999", "expires_in"),
        ("expires_in=315360001", "expires_in"),
        ("renewable=maybe", "renewable"),
        ("no_ip_protection=true&ips=192.0.2.7", "no_ip_protection"),
        ("expires_in=60&expires_in=86400", "only once"),
        ("ips=192.0.2.7&ips=request_ip", "only once"),
        ("ips=example.org", "ips"),
        ("ips=192.0.2.0/33", "ips"),
        ("ips=192.0.2.0/16", "10000"),
        ("ips=2001:db8::/64", "10000"),
        ("ips=" + ",".join(f"192.0.2.{n}" for n in range(11)), "10"),
    ],
)
def test_invalid_token_options_are_refused_by_name(acme, alice, query, named):
    response = ask(alice.api, query)
    assert response.status_code == 400
    assert named in response.json()["error"]["message"]


def test_a_token_works_where_a_key_does_and_a_key_counts_first(image, alice, charlie):
    token = ask(alice.api).json()["token"]
    assert bearer(token).get(f"/sourceimages/acme/{image.hash}").status_code == 200
    assert bearer(token).get("/user").json()["user_id"] == str(alice.user.pk)
    both = APIClient(headers={"Authorization": f"Bearer {token}", "Api-Key": charlie.key})
    assert both.get("/user").json()["user_id"] == str(charlie.user.pk)
    assert both.get("/sourceimages/acme").status_code == 403


def test_what_is_done_with_a_token_is_done_by_its_key(acme, alice):
    bearer(ask(alice.api).json()["token"]).post("/user/apikeys", {"comment": "x"}, format="json")
    event = next(one for one in alice.user.audit_events.all() if one.action == "api_key.created")
    assert event.api_key_id == alice.user.api_keys.order_by("created")[0].pk


@pytest.mark.parametrize("path", ["/", "/user", "/sourceimages/acme", "/sourceimages/nobody", "/user/apikeys/token"])
def test_a_bad_token_is_401_everywhere(acme, alice, settings, path):
    good = ask(alice.api).json()
    header, body, signature = good["token"].split(".")
    other_key = jwt.encode(good["payload"], "x" * 40, "HS256")
    none = jwt.encode(good["payload"], None, "none")
    wide = jwt.encode(good["payload"], settings.TOKEN_SECRETS[0], "HS512")
    without = {name: value for name, value in good["payload"].items() if name != "key"}
    incomplete = jwt.encode(without, settings.TOKEN_SECRETS[0], "HS256")
    odd = jwt.encode(good["payload"] | {"ips": 7}, settings.TOKEN_SECRETS[0], "HS256")
    timeless = jwt.encode(good["payload"] | {"exp": "never"}, settings.TOKEN_SECRETS[0], "HS256")
    for token in (
        "",
        "abc",
        "a.b.c",
        f"{header}.{body}.",
        f"{header}.{body}.{signature[:-3]}AAA",
        other_key,
        none,
        wide,
        incomplete,
        odd,
        timeless,
        "é",
        "x" * 100_000,
        good["token"] + "x",
    ):
        response = bearer(token).get(path)
        assert response.status_code == 401, token[:50]
        assert response.json()["invalid_authentication"] is True
        assert response.json()["error"]["code"] == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_another_authorization_scheme_is_ignored(acme):
    response = APIClient(headers={"Authorization": "Basic YTpi"}).get("/user")
    assert (response.status_code, response.json()["invalid_authentication"]) == (403, True)


def test_a_token_expires_at_its_expiry(acme, alice):
    token = ask(alice.api, "expires_in=100").json()["token"]
    with time_machine.travel(time.time() + 99, tick=False):
        assert bearer(token).get("/user").status_code == 200
    with time_machine.travel(time.time() + 101, tick=False):
        response = bearer(token).get("/user")
    assert response.status_code == 401
    assert "expired" in response.json()["error"]["message"]


def test_a_token_is_valid_from_its_addresses_only(acme, alice):
    token = ask(alice.api, "ips=192.0.2.0/24,2001:db8::7").json()["token"]
    for address, status in (
        ("192.0.2.200", 200),
        ("::ffff:192.0.2.9", 200),
        ("2001:db8::7", 200),
        ("192.0.3.1", 401),
        ("2001:db8::8", 401),
        ("", 401),
    ):
        assert bearer(token).get("/user", REMOTE_ADDR=address).status_code == status, address


def test_a_proxy_is_believed_only_if_it_is_trusted(acme, alice):
    token = ask(alice.api, "ips=192.0.2.9").json()["token"]
    assert bearer(token).get("/user", headers={"X-Forwarded-For": "192.0.2.9"}).status_code == 401


def test_a_token_and_its_renewals_become_invalid_with_their_key(acme, alice):
    second = create_key(alice.user, comment="", actor=alice.actor)[1]
    token = ask(Person(alice.user, second).api).json()["token"]
    successor = ask(bearer(token)).json()["token"]
    key = ApiKey.objects.get(digest=ApiKey.digest_of(second))
    assert alice.api.delete(f"/user/apikeys/{key.pk}").status_code == 204
    for one in (token, successor):
        for path in ("/user", "/sourceimages/acme", "/user/apikeys/token"):
            assert bearer(one).get(path).status_code == 401


def test_the_token_of_a_deactivated_user_is_invalid(acme, alice):
    token = ask(alice.api).json()["token"]
    User.objects.filter(pk=alice.user.pk).update(is_active=False)
    assert bearer(token).get("/user").status_code == 401


def test_the_newest_secret_signs_and_all_verify(acme, alice, settings):
    old = ask(alice.api).json()["token"]
    settings.TOKEN_SECRETS = ["n" * 40, *settings.TOKEN_SECRETS]
    new = ask(alice.api).json()["token"]
    assert jwt.decode(new, "n" * 40, ["HS256"])
    assert bearer(old).get("/user").status_code == bearer(new).get("/user").status_code == 200
    settings.TOKEN_SECRETS = ["n" * 40]
    assert bearer(old).get("/user").status_code == 401


@pytest.mark.parametrize(
    ("first", "then", "status"),
    [
        ("renewable=false", "", 403),
        ("no_ip_protection=true", "", 403),
        ("expires_in=100", "expires_in=101", 403),
        ("expires_in=100", "expires_in=100", 200),
        ("expires_in=100", "", 200),
        ("", "no_ip_protection=true", 403),
        ("", "ips=192.0.2.7", 403),
        ("", "ips=127.0.0.1", 200),
        ("", "ips=request_ip,", 200),
        ("ips=127.0.0.0/28", "ips=127.0.0.0/27", 403),
        ("ips=127.0.0.0/28", "ips=127.0.0.8/29", 200),
        ("no_ip_protection=true&renewable=true", "ips=192.0.2.7", 200),
        ("no_ip_protection=true&renewable=true", "no_ip_protection=true", 200),
    ],
)
def test_a_renewed_token_never_gains_lifetime_or_addresses(acme, alice, first, then, status):
    response = ask(bearer(ask(alice.api, first).json()["token"]), then)
    assert response.status_code == status
    if status == 403:
        assert response.json()["error"]["reason"] == "token_not_renewable"
        assert "invalid_authentication" not in response.json()


def test_unspecified_options_are_inherited(acme, alice):
    first = ask(alice.api, "expires_in=500&ips=127.0.0.0/28").json()
    then = ask(bearer(first["token"])).json()["payload"]
    assert {name: then[name] for name in ("expt", "ips", "rn", "id", "key")} == {
        name: first["payload"][name] for name in ("expt", "ips", "rn", "id", "key")
    }


# --- POST -------------------------------------------------------------------------------------------------------------


def post(client, query: str = "", body: bytes = b"", content_type: str = "application/json"):
    return client.generic("POST", f"/user/apikeys/token?{query}", body, content_type)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"", "application/json"),
        (b"{}", "text/plain"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'{"totp": null}', "application/json"),
    ],
)
def test_a_token_can_be_posted_for_with_or_without_a_body(acme, alice, body, content_type):
    response = post(alice.api, "expires_in=60&no_ip_protection=true", body, content_type)
    assert response.status_code == 200
    payload = response.json()["payload"]
    assert (payload["expt"], payload["ips"], payload["rn"]) == (60, [], False)
    assert bearer(response.json()["token"]).get("/user").json()["user_id"] == str(alice.user.pk)


def test_a_token_is_renewed_with_post(acme, alice):
    first = post(alice.api, "expires_in=100").json()
    assert post(bearer(first["token"])).json()["payload"]["expt"] == 100
    assert post(bearer(first["token"]), "expires_in=101").json()["reason"] == "token_not_renewable"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("query", ["totp=123456", "totp=", "expires_in=60&totp=123456"])
def test_a_code_in_the_query_is_refused(acme, alice, method, query):
    response = alice.api.generic(method, f"/user/apikeys/token?{query}")
    assert (response.status_code, response.json()["reason"]) == (400, "invalid")
    assert "token" not in response.json()
    assert "123456" not in response.content.decode()


def test_a_code_of_a_user_without_a_second_factor_is_invalid(acme, alice):
    response = post(alice.api, body=b'{"totp": "123456"}')
    assert (response.status_code, response.json()["reason"]) == (401, "totp_invalid")
    assert response.json()["invalid_authentication"] is True
    assert response.json()["error"]["reason"] == "totp_invalid"
    assert "token" not in response.json()


@pytest.mark.parametrize(
    "body", [b'{"ips": "192.0.2.7"}', b'{"expires_in": 60}', b'{"totp": {}}', b'["totp"]', b"7", b"{", b'{"totp": ""}']
)
def test_an_unknown_body_is_refused_instead_of_ignored(acme, alice, body):
    response = post(alice.api, body=body)
    assert response.status_code == 400
    assert "token" not in response.json()


# --- Properties -------------------------------------------------------------------------------------------------------

addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda one: one.ipv4_mapped is None)
small_networks = st.builds(
    lambda address, bits: ipaddress.ip_network(f"{address}/{address.max_prefixlen - bits}", strict=False),
    addresses,
    st.integers(0, 8),
)
token_requests = st.builds(
    lambda expires_in, renewable, ips: TokenRequest(expires_in, renewable, ips is None, tuple(map(str, ips or ()))),
    st.none() | st.integers(1, tokens.MAX_LIFETIME),
    st.none() | st.booleans(),
    st.none() | st.lists(small_networks, max_size=5),
)


@given(token_requests, addresses)
def test_a_token_comes_back_as_it_was_issued(options, address):
    token = tokens.issue(uuid4(), uuid4(), options, address=str(address))
    valid_from = str(token.networks[0].network_address) if token.networks else str(address)
    assert tokens.verify(token.signed(), address=valid_from) == token


@given(token_requests, token_requests, addresses)
def test_no_chain_of_renewals_gains_anything(first, then, address):
    token = tokens.issue(uuid4(), uuid4(), first, address=str(address))
    try:
        successor = tokens.renew(token, then, address=str(address))
    except TokenNotRenewable:
        return
    assert token.renewable
    assert successor.lifetime <= token.lifetime
    assert (successor.user_id, successor.key_id) == (token.user_id, token.key_id)
    if token.networks:
        assert successor.networks
        for network in successor.networks:
            assert any(network.version == one.version and network.subnet_of(one) for one in token.networks)


@given(st.lists(small_networks, min_size=1, max_size=10), addresses)
def test_a_bound_token_is_valid_exactly_within_its_networks(networks, address):
    token = tokens.issue(uuid4(), uuid4(), TokenRequest(ips=tuple(map(str, networks))), address=HERE)
    inside = any(address in network for network in networks)
    if inside:
        assert tokens.verify(token.signed(), address=str(address))
    else:
        with pytest.raises(InvalidToken):
            tokens.verify(token.signed(), address=str(address))


@given(st.lists(small_networks, min_size=1, max_size=20))
def test_addresses_are_counted_once(networks):
    every = {address for network in networks for address in network}
    assert tokens.address_count(networks) == len(every)
    if len(set(networks)) > tokens.MAX_NETWORKS:
        with pytest.raises(InvalidInput):
            tokens.networks([str(network) for network in networks], address=HERE)
    else:
        found = tokens.networks([str(network) for network in networks] * 2, address=HERE)
        assert {address for network in found for address in network} == every


@given(st.text(max_size=300))
def test_random_text_is_not_a_token(text):
    with pytest.raises(InvalidToken):
        tokens.verify(text, address=HERE)


@given(st.text(max_size=60))
def test_random_text_is_not_a_network(text):
    assume("," not in text and text != tokens.OWN_ADDRESS)
    try:
        ipaddress.ip_network(text, strict=False)
        ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        with pytest.raises(InvalidInput):
            tokens.networks([text], address=HERE)


@given(st.integers(1, tokens.MAX_LIFETIME), st.integers(-3, 3))
def test_a_token_is_valid_until_its_last_second(lifetime, offset):
    with time_machine.travel("2026-01-01T00:00:00Z", tick=False) as clock:
        token: Token = tokens.issue(uuid4(), uuid4(), TokenRequest(expires_in=lifetime), address=HERE)
        clock.shift(timedelta(seconds=lifetime + offset))
        if offset < 0:
            assert tokens.verify(token.signed(), address=HERE) == token
        elif offset > 0:
            with pytest.raises(InvalidToken):
                tokens.verify(token.signed(), address=HERE)
