"""Signed URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from organizations.auth import signed_urls
from organizations.models import SigningKey

pytestmark = pytest.mark.any_database

KEY = "contract-demo-key-000000000000001"
URL = "https://acme.example.org/thumb/3fa9c1.jpg"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/thumb/3fa9c1.jpg", "158acd8f7087d35d"),
        ("/thumb/3fa9c1/red-barn.jpg", "45300e615152ae9a"),
        ("/thumb/o-dpr-2/3fa9c1.jpg?v=%7B%22t%22%3A%22a-b%22%7D", "e56953443b558ede"),
        (
            "/thumb/3fa9c1.jpg?sigopts=%7B%22until%22%3A%222040-01-01T00%3A00%3A00.000Z%22%7D",
            "e8c16e3e5ebb3e58",
        ),
        (
            "/thumb/3fa9c1.jpg?sigopts=%7B%22until%22%3A%222040-01-01T00%3A00%3A00%2B00%3A00%22%7D",
            "71956ece77de9e68",
        ),
    ],
)
def test_signatures_are_those_of_other_implementations(address, expected):
    path, _, query = address.partition("?")
    assert signed_urls.signature(path, query, KEY) == expected
    signed = signed_urls.signed_url(f"https://acme.example.org{address}", KEY)
    assert signed == f"https://acme.example.org{address}{'&' if query else '?'}sig={expected}"


@given(st.sampled_from(["", "?v=%7B%7D", "?sig=0123456789abcdef", "?a=b&sig=x&c"]))
def test_signing_twice_is_signing_once(query):
    once = signed_urls.signed_url(URL + query, KEY)
    assert signed_urls.signed_url(once, KEY) == once


@pytest.fixture
def key(acme):
    SigningKey.objects.filter(organization=acme).update(key=KEY)
    return acme.signing_keys.get()


def sign(person, **body):
    return person.api.post("/utils/acme/sign_url", body, format="json")


def test_a_url_is_signed_with_the_permission(alice, key):
    body = sign(alice, url=URL).json()
    assert body == {"signed_url": f"{URL}?sig=158acd8f7087d35d", "original_url": URL}
    key.refresh_from_db()
    assert key.accessed


@pytest.mark.parametrize("spelling", ["round_date_up_to", "roundDateUpTo"])
def test_a_time_limit_is_rounded_up(alice, key, spelling):
    body = sign(alice, url=URL, until="2039-12-31T23:31:00Z", **{spelling: 3600}).json()
    assert body["until"] == "2040-01-01T00:00:00+00:00"
    assert body["signed_url"].endswith("sig=71956ece77de9e68")
    assert sign(alice, url=URL, until="2039-12-31T23:56:00Z").json()["until"] == "2040-01-01T00:00:00+00:00"
    assert sign(alice, url=URL, until="2039-12-31t23:56:00z").json()["until"] == "2040-01-01T00:00:00+00:00"
    assert sign(alice, url=URL, until="2208988800").json()["until"] == "2040-01-01T00:00:00+00:00"


def test_the_fields_can_be_sent_in_the_query_or_in_a_form(alice, key):
    expected = sign(alice, url=URL).json()
    assert alice.api.post(f"/utils/acme/sign_url?url={URL}").json() == expected
    assert alice.api.post("/utils/acme/sign_url", {"url": URL}, format="multipart").json() == expected
    form = b'--Bb\r\nContent-Disposition: form-data; name="url"\r\n\r\n' + URL.encode() + b"\r\n--Bb--\r\n"
    upper_case = alice.api.generic("POST", "/utils/acme/sign_url", form, "Multipart/Form-Data; boundary=Bb")
    assert upper_case.json() == expected
    in_query = alice.api.post(f"/utils/acme/sign_url?url={URL}&key={KEY}&until=2039-12-31T23:31:00Z&roundDateUpTo=3600")
    assert in_query.json()["until"] == "2040-01-01T00:00:00+00:00"


def test_the_newest_key_signs_unless_another_is_named(alice, key):
    added = alice.api.post("/organizations/acme/signing_keys").json()["key"]
    assert sign(alice, url=URL).json()["signed_url"] == signed_urls.signed_url(URL, added)
    assert sign(alice, url=URL, key=KEY).json()["signed_url"] == signed_urls.signed_url(URL, KEY)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": 7},
        {"url": "/thumb/3fa9c1.jpg"},
        {"url": "https://other.example.org/thumb/3fa9c1.jpg"},
        {"url": "ftp://acme.example.org/thumb/3fa9c1.jpg"},
        {"url": "https://acme.example.org/"},
        {"url": "https://[acme.example.org/thumb"},
        {"url": "x" * 9000},
        {"url": URL, "key": "unknown"},
        {"url": URL, "until": "tomorrow"},
        {"url": URL, "until": "9999-12-31T23:59:59Z"},
        {"url": URL, "until": "9" * 30},
        {"url": URL, "until": "2040-01-01", "round_date_up_to": 0},
        {"url": URL, "until": "2040-01-01", "round_date_up_to": "x"},
    ],
)
def test_what_cannot_be_signed_is_refused(alice, key, body):
    assert sign(alice, **body).status_code == 400


@pytest.mark.parametrize("path", ["acme/thumb/3fa9c1.jpg", "render/acme/thumb/3fa9c1.jpg"])
def test_an_address_with_the_organization_in_its_path_belongs_to_it(alice, key, path):
    assert sign(alice, url=f"http://localhost:8000/{path}").status_code == 200


def test_an_address_of_another_organization_is_not_signed(alice, key):
    assert sign(alice, url="http://localhost:8000/render/other/thumb/3fa9c1.jpg").status_code == 400


def test_a_stranger_signs_nothing(key, charlie):
    assert sign(charlie, url=URL).status_code == 403
    assert APIClient().post("/utils/acme/sign_url", {"url": URL}, format="json").status_code == 403
