"""Signatures of render URLs, with the test vectors of the API contract."""

import pytest
import time_machine

from organizations.auth.signed_urls import signature, signed_url
from rendering.errors import InvalidSignature
from rendering.grammar import parse
from rendering.signatures import check_signature

pytestmark = pytest.mark.any_database

KEY = "contract-demo-key-000000000000001"
UNTIL = "sigopts=%7B%22until%22%3A%222040-01-01T00%3A00%3A00"
VECTORS = [
    ("/thumb/3fa9c1.jpg", "", "158acd8f7087d35d"),
    ("/thumb/3fa9c1/red-barn.jpg", "", "45300e615152ae9a"),
    ("/thumb/o-dpr-2/3fa9c1.jpg", "v=%7B%22t%22%3A%22a-b%22%7D", "e56953443b558ede"),
    ("/thumb/3fa9c1.jpg", f"{UNTIL}.000Z%22%7D", "e8c16e3e5ebb3e58"),
    ("/thumb/3fa9c1.jpg", f"{UNTIL}%2B00%3A00%22%7D", "71956ece77de9e68"),
]


def check(path: str, query: str, *, keys: tuple[str, ...] = (KEY,), prefix: str = ""):
    return check_signature(parse(path, query, "acme"), path=path, query=query, prefix=prefix, keys=keys)


def joined(*parts: str) -> str:
    return "&".join(part for part in parts if part)


@pytest.mark.parametrize(("path", "query", "expected"), VECTORS)
def test_the_vectors_of_the_contract_are_valid(path, query, expected):
    check(path, joined(query, f"sig={expected}"))


@pytest.mark.parametrize(("path", "query", "expected"), VECTORS)
def test_a_changed_signature_is_refused(path, query, expected):
    wrong = ("0" if expected[0] != "0" else "1") + expected[1:]
    with pytest.raises(InvalidSignature, match="wrong"):
        check(path, joined(query, f"sig={wrong}"))


def test_a_missing_signature_is_refused():
    with pytest.raises(InvalidSignature, match="must be signed"):
        check("/thumb/3fa9c1.jpg", "")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/thumb/3fa9c2.jpg", ""),
        ("/thumb/3fa9c1.png", ""),
        ("/thumb/o-dpr-2/3fa9c1.jpg", ""),
        ("/thumb/3fa9c1.jpg", "v=%7B%7D"),
    ],
)
def test_a_signature_is_only_valid_for_its_url(path, query):
    with pytest.raises(InvalidSignature, match="wrong"):
        check(path, joined(query, "sig=158acd8f7087d35d"))


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("/thumb/v-t-a/blur-sigma-9/3fa9c1.jpg", "/thumb/v-t-a%2Fblur%2Dsigma%2d9/3fa9c1.jpg"),
        ("/thumb/v-t-a--blur-sigma-9/3fa9c1.jpg", "/thumb/v-t-a%2D%2Dblur%2Dsigma%2D9/3fa9c1.jpg"),
        ("/thumb/v-t-a%2Fb/3fa9c1.jpg", "/thumb/v-t-a%252Fb/3fa9c1.jpg"),
    ],
)
def test_a_signature_is_not_valid_for_encoded_separators(signed, sent):
    with pytest.raises(InvalidSignature, match="wrong"):
        check(sent, f"sig={signature(signed, '', KEY)}")
    check(sent, f"sig={signature(sent, '', KEY)}")


def test_the_message_has_the_expiry_in_utc():
    query = "sigopts=%7B%22until%22%3A%222020-01-01T01%3A00%3A00%2B02%3A00%22%7D"
    with pytest.raises(InvalidSignature, match="expired at 2019-12-31T23:00:00Z"):
        check("/thumb/3fa9c1.jpg", f"{query}&sig={signature('/thumb/3fa9c1.jpg', query, KEY)}")


def test_a_signature_can_stand_anywhere_in_the_query():
    value = signature("/thumb/3fa9c1.jpg", "a=1&b=2", KEY)
    for query in (f"sig={value}&a=1&b=2", f"a=1&sig={value}&b=2", f"a=1&b=2&sig={value}"):
        check("/thumb/3fa9c1.jpg", query)


def test_any_key_of_the_organization_is_valid():
    check("/thumb/3fa9c1.jpg", "sig=158acd8f7087d35d", keys=("another-key", KEY))
    with pytest.raises(InvalidSignature):
        check("/thumb/3fa9c1.jpg", "sig=158acd8f7087d35d", keys=("another-key",))
    with pytest.raises(InvalidSignature):
        check("/thumb/3fa9c1.jpg", "sig=158acd8f7087d35d", keys=())


def test_the_slug_may_be_left_out_of_what_is_signed():
    without = signature("/thumb/3fa9c1.jpg", "", KEY)
    for path in ("/thumb/3fa9c1/red-barn.jpg", "/thumb/3fa9c1/another.jpg"):
        check(path, f"sig={without}")


def test_a_signature_with_a_slug_is_not_valid_for_another_slug():
    with pytest.raises(InvalidSignature):
        check("/thumb/3fa9c1/another.jpg", "sig=45300e615152ae9a")


@pytest.mark.parametrize("prefix", ["", "/render/acme"])
def test_the_prefix_of_the_organization_may_be_signed_or_not(prefix):
    value = signature(f"{prefix}/thumb/3fa9c1.jpg", "", KEY)
    check("/thumb/3fa9c1.jpg", f"sig={value}", prefix="/render/acme")


@pytest.mark.parametrize("signed", ["/thumb/v-t-a%2Fb/3fa9c1.jpg", "/thumb/v-t-a%2fb/3fa9c1.jpg"])
def test_the_path_is_signed_as_sent(signed):
    check(signed, f"sig={signature(signed, '', KEY)}")


def test_a_signature_is_valid_until_its_expiry():
    path = "/thumb/3fa9c1.jpg"
    query = joined(f"{UNTIL}.000Z%22%7D", "sig=e8c16e3e5ebb3e58")
    with time_machine.travel("2039-12-31 23:59:59+00:00", tick=False):
        assert check(path, query).isoformat() == "2040-01-01T00:00:00+00:00"
    with time_machine.travel("2040-01-01 00:00:00+00:00", tick=False), pytest.raises(InvalidSignature, match="expired"):
        check(path, query)


def test_an_expiry_cannot_be_changed():
    later = UNTIL.replace("2040", "2041")
    with pytest.raises(InvalidSignature, match="wrong"):
        check("/thumb/3fa9c1.jpg", f"{later}.000Z%22%7D&sig=e8c16e3e5ebb3e58")


def test_what_this_server_signs_is_valid():
    url = signed_url("https://acme.example.org/thumb/v-t-a%20b/3fa9c1/red.jpg?v=%7B%22a%22:1,%22b%22:2%7D", KEY)
    path, _, query = url.removeprefix("https://acme.example.org").partition("?")
    check(path, query)
