import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from organizations.models import Organization
from rokka.core.cursors import PREFIX
from rokka.core.errors import InvalidInput
from sourceimages.models import SourceImage, Tombstone
from sourceimages.search import cursor, sort
from sourceimages.search.fields import COLUMNS
from tests.support.rows import insert_images


@pytest.fixture
def ten(acme, alice):
    """Ten images; image n was created n minutes after midnight, and sizes come in pairs."""
    insert_images(acme, 10, actor=alice.actor)
    for n, image in enumerate(acme.images.order_by("id")):
        midnight = datetime(2024, 3, 5, tzinfo=UTC)
        SourceImage.objects.filter(pk=image.pk).update(created=midnight + timedelta(minutes=n), size=100 + n // 2)
    return acme


def names(response):
    assert response.status_code == 200, response.json()
    return [item["name"].removesuffix(".png") for item in response.json()["items"]]


def walk(api, query):
    """Read on by cursor until a page is empty, as clients do; the names of each page."""
    pages, cursor = [], ""
    while True:
        response = api.get(f"/sourceimages/acme?{query}&offset={cursor}")
        assert response.json()["cursor"]
        if not response.json()["items"]:
            return pages
        pages.append(names(response))
        cursor = response.json()["cursor"]


def test_newest_come_first(ten, alice):
    response = alice.api.get("/sourceimages/acme")
    assert names(response) == list("9876543210")
    assert response.json()["total"] == 10
    assert response.json()["links"] == {}
    assert response.headers["Content-Type"] == "application/json"


def test_numbers_turn_pages(ten, alice):
    first = alice.api.get("/sourceimages/acme?limit=4&offset=0").json()
    assert first["links"] == {"next": {"href": "/sourceimages/acme?limit=4&offset=4"}}
    second = alice.api.get(first["links"]["next"]["href"]).json()
    assert second["links"] == {
        "prev": {"href": "/sourceimages/acme?limit=4"},
        "next": {"href": "/sourceimages/acme?limit=4&offset=8"},
    }
    third = alice.api.get(second["links"]["next"]["href"])
    assert names(third) == ["1", "0"]
    assert third.json()["links"] == {"prev": {"href": "/sourceimages/acme?limit=4&offset=4"}}
    assert third.json()["total"] == 10
    assert names(alice.api.get("/sourceimages/acme?offset=100")) == []


def test_links_repeat_what_else_was_asked_for(ten, alice):
    links = alice.api.get("/sourceimages/acme/?sort=size%20desc,name&limit=1&deleted=false").json()["links"]
    assert links["next"]["href"] == "/sourceimages/acme?sort=size+desc%2Cname&deleted=false&limit=1&offset=1"


@pytest.mark.parametrize(
    "query", ["limit=3", "limit=3&sort=created", "limit=4&sort=size", "limit=1&sort=size desc,name"]
)
def test_cursors_reach_everything_once(ten, alice, query):
    everything = names(alice.api.get(f"/sourceimages/acme?{query.partition('&')[2]}"))
    pages = walk(alice.api, query)
    assert [name for page in pages for name in page] == everything


def test_a_cursor_is_not_disturbed_by_deletions_before_it(ten, alice):
    first = alice.api.get("/sourceimages/acme?limit=4")
    ten.images.filter(name__in=[f"{name}.png" for name in names(first)]).delete()
    second = alice.api.get(f"/sourceimages/acme?limit=4&offset={first.json()['cursor']}")
    assert names(second) == list("5432")
    assert second.json()["links"]["next"]["href"].endswith(f"offset={second.json()['cursor']}")
    assert "prev" not in second.json()["links"]


def test_the_last_page_has_a_cursor_that_leads_to_nothing(ten, alice):
    last = alice.api.get("/sourceimages/acme").json()
    beyond = alice.api.get(f"/sourceimages/acme?offset={last['cursor']}").json()
    assert beyond["items"] == []
    assert beyond["cursor"] == last["cursor"]
    assert beyond["links"] == {}


def test_an_empty_list_has_a_cursor_too(acme, alice):
    empty = alice.api.get("/sourceimages/acme").json()
    assert (empty["total"], empty["items"], empty["links"]) == (0, [], {})
    assert alice.api.get(f"/sourceimages/acme?offset={empty['cursor']}").json()["items"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=0&offset=5"])
def test_a_limit_of_zero_gives_the_total(ten, alice, query):
    response = alice.api.get(f"/sourceimages/acme?{query}").json()
    assert (response["total"], response["items"], response["links"]) == (10, [], {})


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("created", "0123456789"),
        ("created asc", "0123456789"),
        ("created DESC", "9876543210"),
        ("name desc", "9876543210"),
        ("size desc,created", "8967452301"),
        ("size, created desc", "1032547698"),
        ("created,created desc", "0123456789"),
    ],
)
def test_columns_sort(ten, alice, by, order):
    assert names(alice.api.get("/sourceimages/acme", {"sort": by})) == list(order)


@pytest.mark.parametrize("column", [name for name, one in COLUMNS.items() if not one.only_in_trash])
def test_every_column_sorts_both_ways(ten, alice, column):
    up = [item["hash"] for item in alice.api.get(f"/sourceimages/acme?sort={column}").json()["items"]]
    down = [
        item["hash"] for item in alice.api.get(f"/sourceimages/acme?sort={column}%20desc&limit=2000").json()["items"]
    ]
    assert len(set(up)) == 10
    assert set(up) == set(down)


def test_the_trash_sorts_by_the_time_of_deletion(ten, alice):
    for n, image in enumerate(ten.images.order_by("id")):
        now = timezone.now()
        image.tombstone = Tombstone.objects.create(
            organization=ten, deleted_at=now + timedelta(minutes=n), expires_at=now + timedelta(days=1), reason="api"
        )
        image.save()
    query = "deleted=true&sort=deletedDate%20desc"
    assert names(alice.api.get(f"/sourceimages/acme?{query}")) == list("9876543210")
    assert [name for page in walk(alice.api, f"limit=3&{query}") for name in page] == list("9876543210")


def test_equals_are_sorted_by_hash_in_both_directions(ten, alice):
    for direction in ("asc", "desc"):
        items = alice.api.get(f"/sourceimages/acme?sort=format%20{direction}").json()["items"]
        assert [item["hash"] for item in items] == sorted(item["hash"] for item in items)


@pytest.mark.parametrize(
    "query",
    [
        "limit=2001",
        "limit=-1",
        "limit=many",
        "limit=1.5",
        "offset=-1",
        "offset=nonsense",
        "offset=c",
        "offset=cAAAA",
        "offset=99999999999999999",
        "sort=Colour",
        "sort=deletedDate",
        "sort=created%20sideways",
        "sort=,",
        "sort=a;drop",
        "sort=name,name,name,name,name,name",
        "deleted=perhaps",
        "Colour=red",
        "operator=nor",
        "user:colour:foo:bar=x",
        "facets=width",
    ],
)
def test_bad_parameters_are_refused(ten, alice, query):
    response = alice.api.get(f"/sourceimages/acme?limit=0&{query}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400


@pytest.mark.parametrize(
    "query", ["limit=&offset=&sort=&deleted=&facets=&user:x=", "limit", "deleted=False", "deleted=0", ""]
)
def test_parameters_without_a_value_count_as_absent(ten, alice, query):
    assert len(names(alice.api.get(f"/sourceimages/acme?{query}"))) == 10


def test_a_cursor_of_another_order_is_refused(ten, alice):
    given = alice.api.get("/sourceimages/acme?sort=name").json()["cursor"]
    response = alice.api.get(f"/sourceimages/acme?sort=size&offset={given}")
    assert response.status_code == 400
    assert "order" in response.json()["error"]["message"]


orders = st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4).map(
    lambda fields: sort.parse(
        ",".join(f"{field} {'desc' if len(field) % 2 else 'asc'}" for field in fields), Organization(), in_trash=True
    )
)
VALUES = {
    int: st.integers(0, 2**63 - 1),
    bool: st.booleans(),
    str: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


@given(st.data(), orders)
def test_a_cursor_gives_back_what_was_put_in(data, order):
    values = [data.draw(VALUES[key.kind]) for key in order]
    text = cursor.encode(order, values)
    assert cursor.decode(text, order) == values
    assert text.isascii()
    assert not text.isdigit()


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none(), max_size=2)
times = st.sampled_from(
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-01-01", "now", "2024-03-05T09:30"]
)


@given(st.data(), orders)
def test_a_forged_cursor_is_refused_or_holds_values_of_its_columns(data, order):
    values = [data.draw(anything | times) for _ in order]
    text = json.dumps([cursor.order_name(order), *values])
    forged = PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    try:
        decoded = cursor.decode(forged, order)
    except InvalidInput:
        return
    assert [type(value) for value in decoded] == [key.kind for key in order]


@given(orders, st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: PREFIX + raw.hex()))
def test_nonsense_is_no_cursor(order, text):
    with pytest.raises(InvalidInput):
        cursor.decode(text, order)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:00"]
)
def test_a_forged_time_does_no_harm(ten, alice, time):
    text = json.dumps([cursor.order_name(sort.parse("", Organization())), time, "0" * 40, 2**63 - 1])
    forged = PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    assert alice.api.get(f"/sourceimages/acme?offset={forged}").status_code in (200, 400)
