import pytest

from sourceimages import metadata
from sourceimages.errors import InvalidMetadata

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"foo": "bar"}, {"foo": "bar"}),
        ({"str:foo": "bar"}, {"foo": "bar"}),
        ({"text:about": "A boat"}, {"text:about": "A boat"}),
        ({"int:year": 2019}, {"int:year": 2019}),
        ({"int:year": "2019"}, {"int:year": 2019}),
        ({"int:year": 2019.0}, {"int:year": 2019}),
        ({"double:ratio": "1.5"}, {"double:ratio": 1.5}),
        ({"date:taken": "2020-01-01T00:00:00.000Z"}, {"date:taken": "2020-01-01T00:00:00Z"}),
        ({"date:taken": "2020-01-01T02:30:00+02:00"}, {"date:taken": "2020-01-01T00:30:00Z"}),
        ({"date:taken": "2020-01-01t00:00:00z"}, {"date:taken": "2020-01-01T00:00:00Z"}),
        ({"latlon:place": "47.38, 8.52"}, {"latlon:place": "47.38,8.52"}),
        ({"array:labels": ["boat", 5]}, {"array:labels": ["boat", "5"]}),
        ({"foo": 5, "bar": True}, {"foo": "5", "bar": "true"}),
        ({"gone": None}, {"gone": None}),
        ([], {}),
    ],
)
def test_user_metadata_is_brought_into_one_form(sent, stored):
    assert metadata.user_metadata(sent) == stored


@pytest.mark.parametrize(
    "sent",
    [
        "text",
        ["a"],
        {"Foo": "bar"},
        {"a-b": "c"},
        {"x" * 55: "long"},
        {"": "empty"},
        {"float:a": 1},
        {"foo": ["bar"]},
        {"foo": "nul\0"},
        {"foo": "\ud800"},
        {"foo": "x" * 10_001},
        {"int:a": "1.5"},
        {"int:a": True},
        {"int:a": 2**63},
        {"double:a": float("inf")},
        {"double:a": "nan"},
        {"double:a": "1_0"},
        {"double:a": 10**400},
        {"foo": float("inf")},
        {"latlon:a": "1_0,2"},
        {"latlon:a": "１,2"},
        {"date:a": "yesterday"},
        {"latlon:a": "91,0"},
        {"latlon:a": "1"},
        {"latlon:a": "nan,nan"},
        {"array:a": "b"},
        {"array:a": [["b"]]},
        {"int:a": 1, "str:a": "1"},
        {f"f{n}": "" for n in range(1001)},
    ],
)
def test_bad_user_metadata_is_refused(sent):
    with pytest.raises(InvalidMetadata):
        metadata.user_metadata(sent)


def test_merging_sets_what_is_mentioned_and_keeps_the_rest():
    stored = {"foo": "bar", "int:year": 2019, "old": "x"}
    changes = {"year": "later", "old": None, "new": "y"}
    assert metadata.apply_changes(stored, changes) == {"foo": "bar", "year": "later", "new": "y"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"subject_area": {"x": 0, "y": 2}}, {"subject_area": {"x": 0, "y": 2, "width": 1, "height": 1}}),
        (
            {"subject_area": {"width": "3", "height": 4, "x": 1, "y": 2, "percentage": False}},
            {"subject_area": {"x": 1, "y": 2, "width": 3, "height": 4}},
        ),
        (
            {"crop_area": {"width": 3, "height": 4, "x": 1, "y": 2, "percentage": True}},
            {"crop_area": {"x": 1, "y": 2, "width": 3, "height": 4, "percentage": True}},
        ),
        ({"SubjectArea": {"x": 1, "y": 1}}, {"subject_area": {"x": 1, "y": 1, "width": 1, "height": 1}}),
        ({"version": {"text": "two"}}, {"version": {"text": "two"}}),
        ({"linked": {"hashes": ["abcdef"]}}, {"linked": {"hashes": ["abcdef"]}}),
        (
            {"multi_areas": {"face": {"crop_area": {"x": 1, "y": 1, "width": 2, "height": 2}}}},
            {"multi_areas": {"face": {"crop_area": {"x": 1, "y": 1, "width": 2, "height": 2}}}},
        ),
        ([], {}),
    ],
)
def test_dynamic_metadata_is_brought_into_one_form(sent, stored):
    assert metadata.dynamic_metadata(sent) == stored


@pytest.mark.parametrize(
    "sent",
    [
        "text",
        {"Colour": {}},
        {"colour": 5},
        {"protected": {}},
        {"subject_area": []},
        {"subject_area": {"x": 1}},
        {"subject_area": {"x": -1, "y": 0}},
        {"subject_area": {"x": 1.5, "y": 0}},
        {"subject_area": {"x": 2**31, "y": 0}},
        {"subject_area": {"x": 1, "y": 0, "width": 0}},
        {"subject_area": {"x": 1, "y": 0, "colour": 1}},
        {"subject_area": {"x": 1, "y": 0, "percentage": "perhaps"}},
        {"crop_area": {"x": 1, "y": 0}},
        {"multi_areas": {"a b": {"crop_area": {"x": 1, "y": 1, "width": 2, "height": 2}}}},
        {"multi_areas": {"a": {}}},
        {"version": {}},
        {"linked": {"hashes": ["not a hash"]}},
    ],
)
def test_bad_dynamic_metadata_is_refused(sent):
    with pytest.raises(InvalidMetadata):
        metadata.dynamic_metadata(sent)
