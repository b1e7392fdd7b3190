import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organizations.models import Organization
from rokka.core.fields import Unseen
from tests.support.skips import only_postgresql

pytestmark = pytest.mark.django_db


@pytest.fixture
def three():
    return [Organization.objects.create(name=name) for name in ("one", 'two"', "thr\\{ee")]


def test_one_of_many_values_is_found_like_in(three):
    names = [one.name for one in three]
    found = Organization.objects.filter(name__one_of=[*names[1:], "{}", "four"])
    assert set(found) == set(Organization.objects.filter(name__in=names[1:])) == set(three[1:])
    assert set(Organization.objects.exclude(pk__one_of=[three[0].pk]).filter(name__in=names)) == set(three[1:])
    assert not Organization.objects.filter(name__one_of=[]).exists()


def test_one_of_takes_a_foreign_key(three):
    three[1].counters.create(slot=0)
    rows = type(three[1].counters.get()).objects.filter(organization_id__one_of=[one.pk for one in three])
    assert [row.organization for row in rows] == [three[1]]


@only_postgresql  # the only one with parameters of any size
def test_thousands_of_values_are_one_parameter(three):
    wanted = [uuid.uuid4() for _ in range(5000)]
    with CaptureQueriesContext(connection) as queries:
        assert Organization.objects.filter(pk__one_of=[*wanted, three[0].pk]).get() == three[0]
    sql, parameters = Organization.objects.filter(pk__one_of=wanted).query.sql_with_params()
    assert (sql.count("%s"), len(parameters), len(queries)) == (1, 1, 1)


def test_an_unseen_value_is_compared_like_any_other(three):
    field = Organization._meta.get_field("name")
    assert Organization.objects.get(name=Unseen(three[2].name, field)) == three[2]
    assert not Organization.objects.filter(name=Unseen("four", field)).exists()
