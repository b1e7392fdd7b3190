"""Expensive searches: the plans find the same images, estimates, slots and the time limit."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from django.conf import settings as configured
from django.http import QueryDict

from organizations.models import Organization
from rokka.core import slots as core_slots
from sourceimages import search
from sourceimages.errors import TooManySearches
from sourceimages.search import cost, lookups, slots
from sourceimages.search.lookups import Interval
from sourceimages.search.pagination import PageRequest
from tests.support import bulk_data

COUNT = 1_000


@pytest.fixture
def thousand(acme):
    bulk_data.make(acme, COUNT, first=20_000_001)
    bulk_data.analyze()
    return acme


def found(organization: Organization, text: str, *, in_order: bool = False) -> set[int]:
    read = search.read(organization, QueryDict(text), in_trash=False)
    condition = read.in_order if in_order else read.condition
    return set(organization.images.active().filter(condition).values_list("pk", flat=True))


def condition(chance: random.Random) -> str:
    """A condition that many of the images meet."""
    low = chance.randrange(1930, 2020)
    return chance.choice(
        [
            f"user:int:year:{chance.choice('[{')}{low} TO {low + chance.randrange(60)}{chance.choice(']}')}",
            f"user:int:year:[{low} TO ]",
            f"user:str:artist:artist-{chance.randrange(10)}*",
            f"user:str:artist:[artist-{chance.randrange(10)} TO artist-9]",
            f"user:array:tags:tag-{chance.randrange(10)}*",
            f"user:array:tags:tag-{chance.choice('01')}",
            f"user:text:caption:word{chance.randrange(10)}*",
            f"user:date:taken:[2058-01-10 TO 2058-01-{chance.randrange(11, 30)}]",
            "user:str:unknown:a",
            "any_text:pictur*",
            "width:[100 TO 3000]",
        ]
    )


def query(chance: random.Random, depth: int = 0) -> str:
    parts = [
        f"({query(chance, depth + 1)})" if depth < 2 and chance.random() < 0.3 else condition(chance)
        for _ in range(chance.randrange(2, 7))
    ]
    parts = [f"NOT {part}" if chance.random() < 0.2 else part for part in parts]
    return chance.choice([" AND ", " OR "]).join(parts)


@pytest.mark.django_db
def test_all_plans_find_the_same_images(thousand, monkeypatch):
    chance, matched = random.Random(7), 0
    for _ in range(40):
        text = QueryDict(mutable=True)
        text["q"] = query(chance)
        text = text.urlencode()
        with monkeypatch.context() as patch:  # as written: one subquery per condition
            patch.setattr(lookups, "simplify", list)
            patch.setattr(lookups, "any_of", tuple)
            patch.setattr(lookups, "PLANNED", 1_000)
            expected = found(thousand, text)
        matched += 0 < len(expected) < COUNT
        for many in (0, 5_000):  # INTERSECT; listed images
            with monkeypatch.context() as patch:
                patch.setattr(lookups, "PLANNED", 1)
                patch.setattr(lookups, "MANY", many)
                patch.setattr(search.compiler, "PROBED_FROM", 0)
                assert found(thousand, text) == expected, text
                if search.read(thousand, QueryDict(text), in_trash=False).in_order is not None:
                    assert found(thousand, text, in_order=True) == expected, text
        assert found(thousand, text) == expected, text
    assert matched > 10  # not all searches find nothing, or everything


@pytest.mark.parametrize(
    ("one", "other", "covered"),
    [
        (Interval(1, 9), Interval(2, 8), True),
        (Interval(1, 9), Interval(1, 9, include_low=False), True),
        (Interval(1, 9, include_low=False), Interval(1, 9), False),
        (Interval(None, None), Interval(1, None), True),
        (Interval(1, None), Interval(None, None), False),
        (Interval("a", "b"), Interval("ab", "ac"), True),
        (Interval(5, 9), Interval(1, 6), False),
    ],
)
def test_an_interval_covers_another_one(one, other, covered):
    assert one.covers(other) is covered


@pytest.mark.django_db
def test_many_ranges_of_a_field_are_one_lookup(thousand, django_assert_max_num_queries):
    text = "&".join(f"user:int:year=[{1930 + number},{2029 - number}]" for number in range(50))
    with django_assert_max_num_queries(6):
        condition = search.condition(thousand, QueryDict(text), in_trash=False)
    assert str(thousand.images.filter(condition).query).count("sourceimages_metadatanumber") <= 8


# --- Estimates --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_search_is_refused_before_it_runs_if_it_would_read_too_many_rows(thousand, alice, monkeypatch):
    path = "/sourceimages/acme?q=user:text:caption:word*&facets=user:array:tags,user:str:artist&sort=width&offset=5"
    assert alice.api.get(path).status_code == 200
    monkeypatch.setattr(cost, "ROWS_PER_SECOND", 500)
    response = alice.api.get(path)
    assert (response.status_code, response.json()["reason"]) == (400, "search_too_expensive")
    assert "facets: 6,000" in response.json()["message"]
    assert "conditions: 3,000" in response.json()["message"]
    assert "Request fewer facets" in response.json()["message"]
    assert alice.api.get("/sourceimages/acme?q=user:int:year:1950").json()["total"] == 10
    assert alice.api.get("/sourceimages/acme").json()["total"] == COUNT


@pytest.mark.django_db
def test_selective_conditions_make_a_search_cheap(thousand, monkeypatch):
    monkeypatch.setattr(search.compiler, "PROBED_FROM", 0)
    estimate = search.Cost(thousand)
    search.read(thousand, QueryDict("user:int:year=1950&user:text:caption=word*"), in_trash=False, cost=estimate)
    assert estimate.matching == 10


# --- Slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_key_can_run_two_expensive_searches_at_once(thousand, alice, member, monkeypatch):
    bob = member("read")
    monkeypatch.setattr(cost, "HEAVY_ROWS", 100)
    heavy, light = "/sourceimages/acme?q=user:int:year:[1930 TO 2029]", "/sourceimages/acme?limit=1"
    key = str(alice.user.api_keys.get().pk)
    with ExitStack() as running:
        for _ in range(2):
            running.enter_context(slots.reserved(key))
        refused = alice.api.get(heavy)
        assert (refused.status_code, refused.json()["reason"]) == (429, "too_many_searches")
        assert refused["Retry-After"] == str(configured.SEARCH_TIMEOUT_SECONDS)
        assert refused["X-RateLimit-Limit"] == "2"
        assert alice.api.get("/sourceimages/acme/fields").status_code == 429
        assert alice.api.get(light).status_code == 200
        assert bob.api.get(heavy).status_code == 200
    assert alice.api.get(heavy).status_code == 200
    assert not core_slots._in_use


@pytest.mark.django_db
def test_a_long_query_needs_a_slot_before_it_is_parsed(thousand, alice, monkeypatch):
    path = "/sourceimages/acme?" + "&".join(f"user:int:year=[{1930 + number},2029]" for number in range(30))
    key = str(alice.user.api_keys.get().pk)
    with slots.reserved(key), slots.reserved(key):
        assert alice.api.get(path).status_code == 200  # among few images
        monkeypatch.setattr(cost, "SMALL", 100)
        assert alice.api.get(path).status_code == 429
    assert alice.api.get(path).status_code == 200


def test_expensive_searches_of_a_key_run_one_after_the_other(settings):
    running, most = [], 0

    def search(number: int) -> None:
        nonlocal most
        with slots.slot("a key"):
            running.append(number)
            most = max(most, len(running))
            time.sleep(0.1)
            running.remove(number)

    settings.HEAVY_SEARCHES_PER_KEY = settings.WEB_THREADS = 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(search, range(4)))
    assert most == 1
    settings.SEARCH_TIMEOUT_SECONDS = 0.1
    with slots.slot("a key"), slots.slot("another key"), pytest.raises(TooManySearches), slots.slot("a key"):
        pass
    assert not core_slots._in_use


@pytest.mark.django_db
def test_all_keys_together_have_a_quarter_of_the_threads(settings):
    settings.WEB_THREADS = 16
    with ExitStack() as running:
        for number in range(4):
            running.enter_context(slots.slot(f"key-{number}"))
        with pytest.raises(TooManySearches, match="all keys on this server"), slots.slot("key-5"):
            pass
    assert not core_slots._in_use


# --- Time limit -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "path", ["?q=user:int:year:[1930 TO 2029]", "?facets=user:array:tags", "/fields", "?format=jpg"]
)
def test_a_search_that_takes_too_long_gets_503(thousand, alice, settings, path):
    settings.SEARCH_TIMEOUT_SECONDS = 0.0001
    # An estimate of a few rows is above what this short time allows.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "ROWS_PER_SECOND", 10**12)
        response = alice.api.get(f"/sourceimages/acme{path}")
    assert (response.status_code, response.json()["reason"]) == (503, "time_limit_exceeded")
    assert response["Retry-After"] == "30"
    assert "SEARCH_TIMEOUT_SECONDS" in response.json()["message"]
    settings.SEARCH_TIMEOUT_SECONDS = 5
    assert alice.api.get(f"/sourceimages/acme{path}").status_code == 200


@pytest.mark.django_db
def test_the_archive_reads_all_images_in_chunks(thousand):
    request = PageRequest.read({"sort": "user:int:year desc", "offset": "3"}, thousand, in_trash=False)
    images = thousand.images.active().select_related("file")
    listed = [image.pk for image in request.iterate(images, thousand, 100)]
    whole = PageRequest.read({"sort": "user:int:year desc", "limit": "2000"}, thousand, in_trash=False)
    assert listed == [image.pk for image in whole.page(images, thousand, "", QueryDict()).items][3:]
