from hashlib import sha1

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourceimages import hashes
from sourceimages.models import ShortHash
from sourceimages.operations.short_hashes import assign_short_hashes

pytestmark = pytest.mark.django_db


@pytest.fixture
def from_one_character(monkeypatch):
    """So that hashes of which every other one begins alike are at hand."""
    monkeypatch.setattr(hashes, "MIN_SHORT_HASH", 1)


def some_hashes(numbers):
    return [sha1(b"%d" % number).hexdigest() for number in numbers]


def by_hand(wanted, given_out):
    """A naive implementation: the assigned short hash, or the shortest free prefix, one hash after the other."""
    names = {hash: short_hash for short_hash, hash in given_out.items()}
    for hash in sorted(set(wanted)):
        if hash not in names:
            names[hash] = next(hash[:length] for length in range(1, 41) if hash[:length] not in names.values())
    return names


@given(st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hashes_get_the_shortest_free_prefix_and_keep_it(from_one_character, acme, batches):
    acme.short_hashes.all().delete()
    expected: dict[str, str] = {}
    for batch in batches:
        wanted = some_hashes(batch)
        expected = by_hand(wanted, {short_hash: hash for hash, short_hash in expected.items()})
        assert assign_short_hashes(acme, wanted) == {hash: expected[hash] for hash in wanted}
    assert dict(acme.short_hashes.values_list("hash", "short_hash")) == expected


def test_no_name_is_given_out_twice_in_one_organization(from_one_character, acme, charlie):
    other = charlie.user.memberships.get().organization
    wanted = some_hashes(range(300))
    names = assign_short_hashes(acme, wanted)
    assert len(set(names.values())) == 300
    assert assign_short_hashes(acme, reversed(wanted)) == names
    assert assign_short_hashes(other, wanted) == names  # elsewhere they are free
    assert ShortHash.objects.count() == 600
