"""The query of a render URL."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from rendering.errors import InvalidRenderURL
from rendering.grammar import parse

pytestmark = pytest.mark.any_database


IMAGE = "0123abcd.jpg"


def read(path, **query):
    return parse(path, "&".join(f"{key}={quote(value)}" for key, value in query.items()), "acme")


def test_variables_of_the_query_win():
    query = "v=%7B%22a%22:%22x+y%22,%22n%22:null,%22i%22:5,%22f%22:1.5,%22t%22:true%7D&x=%ff"
    url = parse(f"/thumb/v-a-path-b-1/{IMAGE}", query, "acme")
    assert url.variables == {"a": "x y", "b": "1", "n": None, "i": 5, "f": 1.5, "t": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1]",
        '"a"',
        '{"a": [1]}',
        '{"a": {}}',
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": 1e16}',
        '{"a": "\\ud800"}',
        '{"a": "\\u0000"}',
        '{"a": 1',
        "[" * 2500,
    ],
)
def test_variables_of_the_query_are_an_object_of_scalars(text):
    with pytest.raises(InvalidRenderURL, match="v: "):
        read(f"/thumb/{IMAGE}", v=text)


@pytest.mark.parametrize(
    "until",
    [
        "2040-01-01T00:00:00.000Z",
        "2040-01-01T00:00:00+00:00",
        "2040-01-01T00:00:00",
        "20400101T000000Z",
        "2040-01-01",
        "2039-12-31T22:30:00-01:30",
        "2040-01-01T01:00:00 01:00",  # a plus that was not encoded
    ],
)
def test_a_signature_can_expire(until):
    url = read(f"/thumb/{IMAGE}", sigopts=json.dumps({"until": until}), sig="0123")
    assert (url.sigopts.until, url.signature) == (datetime(2040, 1, 1, tzinfo=UTC), "0123")
    assert url.describe()["signed"] is True
    assert url.describe()["sigopts"] == {"until": until}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"until": "tomorrow"}',
        '{"until": 5}',
        '{"until": "2040-13-01"}',
        '{"until": "9999-12-31T23:59:59-01:00"}',
        '{"until": ""}',
    ],
)
def test_an_invalid_expiry_is_refused(text):
    with pytest.raises(InvalidRenderURL, match="sigopts"):
        read(f"/thumb/{IMAGE}", sigopts=text)


def test_a_url_without_a_query_has_no_signature():
    url = read(f"/thumb/{IMAGE}")
    assert (url.signature, url.sigopts) == (None, None)
    assert not url.describe().keys() & {"signed", "sigopts", "fresh", "undefined"}
