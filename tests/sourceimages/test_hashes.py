import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourceimages import hashes

pytestmark = pytest.mark.any_database

# What rokka.io answered, as recorded by the tests and the documentation of its clients.
RECORDED = [
    ("498fed612f01199cd6702f5effe5fa7bb67e44f4", "063c3dce6a528d8944a63185bd4c7b161454ee4f"),
    ("63a65da81cae86964e3369b4431b80252f9404b0", "fe5d9a097df0e93cf9570cbdb0386b137b4c9ed2"),
    ("1215617542b2926a80396eecf97980359f772aad", "b32fcb212a2a13220c5ad7f8c71bd6ef5dfd0027"),
    ("1ba368b9f226821b611b16759d004487e7b6d577", "9623ac25ef40ee517e82785cbbc841a2e7f8f720"),
    ("59b5ed64ecc04c8c8bab233438a92d43a8c87fc6", "c97fc83ee1cd3d1919604aa5a57e0cbbc3defae1"),
]
BINARY_HASH = "1ba368b9f226821b611b16759d004487e7b6d577"


@pytest.mark.parametrize(("binary_hash", "hash"), RECORDED)
def test_hashes_are_those_of_rokka_io(binary_hash, hash):
    assert hashes.identity(binary_hash, {}, protected=False) == hash


def test_dynamic_metadata_takes_part():
    area = {"subject_area": {"x": 10, "y": 20, "width": 1, "height": 1}}
    assert hashes.php_serialize(area) == (
        b'a:1:{s:12:"subject_area";a:4:{s:6:"height";i:1;s:5:"width";i:1;s:1:"x";i:10;s:1:"y";i:20;}}'
    )
    assert hashes.identity(BINARY_HASH, area, protected=False) == "1b30980eb596e0be8a2a822ddfb907eb49c712d0"


def test_protection_takes_part():
    assert hashes.identity(BINARY_HASH, {}, protected=True) == "0385ffec5e1c68d702df598413db55ee2f7c3ff9"
    assert hashes.php_serialize({"protected": True}) == b'a:1:{s:9:"protected";b:1;}'


def test_strings_are_measured_in_bytes_and_lists_by_position():
    assert hashes.php_serialize({"a": ["é", False]}) == b'a:1:{s:1:"a";a:2:{i:0;s:2:"\xc3\xa9";i:1;b:0;}}'


def test_floats_have_no_place_in_a_hash():
    with pytest.raises(TypeError, match="float"):
        hashes.identity(BINARY_HASH, {"version": {"text": 1.5}}, protected=False)


json_values = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
metadata = st.dictionaries(st.text(), json_values, max_size=4)


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(metadata)
def test_the_order_of_keys_does_not_matter(facts):
    assert hashes.php_serialize(facts) == hashes.php_serialize(reordered(facts))


@given(metadata, metadata)
def test_different_facts_serialize_differently(one, other):
    assert (hashes.php_serialize(one) == hashes.php_serialize(other)) == (tagged(one) == tagged(other))


def tagged(value):
    """The value with its types: to Python, True equals 1."""
    if isinstance(value, dict):
        return {key: tagged(item) for key, item in value.items()}
    return [tagged(item) for item in value] if isinstance(value, list) else (type(value), value)
