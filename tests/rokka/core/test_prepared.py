"""Queries that are compiled once."""

import pytest

from organizations.models import Organization
from rokka.core.prepared import PreparedQuery

pytestmark = pytest.mark.django_db


def by_name(name: str):
    return Organization.objects.filter(name=name).order_by("name").values_list("pk", "name", "options", "created")


@pytest.fixture
def acme(db):
    return Organization.objects.create(name="acme", display_name="Acme", options={"a": [1]})


def test_values_are_converted_as_by_the_orm(acme):
    query = PreparedQuery(by_name, str)
    assert query.first("acme") == list(by_name("acme").get())


def test_parameters_differ_between_calls(acme):
    query = PreparedQuery(by_name, str)
    assert query.first("other") is None
    assert query.first("acme")[1] == "acme"
    assert query.first("' OR 1=1 --") is None


def test_it_is_compiled_once(acme):
    calls = []
    query = PreparedQuery(lambda name: calls.append(name) or by_name(name), str)
    for _ in range(3):
        query.first("acme")
    assert len(calls) == 1
