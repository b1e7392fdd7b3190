"""The catalogue has the structure that clients expect. Each test lists all violations of a rule."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError

from rendering.catalogue import OPERATIONS, STACK_OPTIONS

pytestmark = pytest.mark.any_database

TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
KEYS = {"type", "default", "description", "minimum", "maximum", "values", "pattern", "minLength", "items"}
BOUNDS = {"minimum", "maximum", "minLength"}

# Syntax of Python that JavaScript lacks or interprets differently: named groups, flags, anchors and quantifiers.
ONLY_IN_PYTHON = re.compile(r"\(\?(?![:=!])|\\[AZaN]|[*+?}]\+")


def nested(name: str, prop: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The property, and the properties of its list items."""
    yield name, prop
    for inner, definition in prop.get("items", {}).get("properties", {}).items():
        yield from nested(f"{name}.{inner}", definition)


def properties_of_all() -> dict[str, dict[str, Any]]:
    """All properties of both files, by a name with their location."""
    found = {f"stack option {name}": prop for name, prop in STACK_OPTIONS["properties"].items()}
    for operation, definition in OPERATIONS.items():
        for name, prop in definition["properties"].items():
            found |= nested(f"{operation}.{name}", prop)
    return found


def accepts(prop: dict[str, Any], value: object) -> bool:
    """Return whether the value is valid for this property; `values` is `enum` in JSON Schema."""
    choices = {"enum": prop["values"]} if "values" in prop else {}
    return Draft7Validator(prop | choices).is_valid(value)


def compiles(schema: dict[str, Any]) -> bool:
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError:
        return False
    return True


PROPERTIES = properties_of_all()
OPTIONS: dict[str, dict[str, Any]] = STACK_OPTIONS["properties"]
PATTERNS = {name: prop["pattern"] for name, prop in PROPERTIES.items() if "pattern" in prop}


def test_the_operations_of_the_go_client_exist():
    known = {"addframes", "alpha", "autorotate", "blur", "composition", "crop", "dropshadow", "glitch", "grayscale"}
    known |= {"modulate", "noop", "primitive", "resize", "rotate", "sepia", "trim"}
    assert known - set(OPERATIONS) == set()


def test_an_operation_has_a_description_properties_and_what_it_requires():
    shape = {"description": str, "properties": dict, "required": list}
    shapes = {
        name: {key: type(value) for key, value in definition.items() if key != "oneOf"}
        for name, definition in OPERATIONS.items()
    }
    assert [name for name, found in shapes.items() if found != shape] == []


def test_what_an_operation_requires_are_properties_without_a_default():
    required = [f"{name}.{needed}" for name, definition in OPERATIONS.items() for needed in definition["required"]]
    assert [name for name in required if "default" in PROPERTIES.get(name, {"default": "not a property"})] == []


def test_every_operation_can_be_switched_off():
    switches = {name: definition["properties"].get("enabled", {}) for name, definition in OPERATIONS.items()}
    on = ("boolean", True)
    assert [name for name, switch in switches.items() if (switch.get("type"), switch.get("default")) != on] == []


def test_only_resize_names_options_of_which_one_is_needed():
    assert {name: definition["oneOf"] for name, definition in OPERATIONS.items() if "oneOf" in definition} == {
        "resize": ["width", "height"]
    }


def test_every_operation_compiles_as_a_schema():
    """Without the option names of resize, which the dashboard removes, too."""
    schemas = {
        name: {key: value for key, value in definition.items() if (name, key) != ("resize", "oneOf")}
        for name, definition in OPERATIONS.items()
    }
    assert [name for name, schema in schemas.items() if not compiles(schema)] == []


def test_stack_options_are_an_object_of_properties():
    assert {key: type(value) for key, value in STACK_OPTIONS.items()} == {"properties": dict}


def test_stack_options_compile_as_a_schema():
    Draft7Validator.check_schema(STACK_OPTIONS)


def test_properties_say_only_what_clients_understand():
    assert [name for name, prop in PROPERTIES.items() if set(prop) - KEYS] == []


def test_properties_have_one_type():
    """A list of types breaks clients that print the type or use it as a key."""
    assert {name: prop["type"] for name, prop in PROPERTIES.items() if prop["type"] not in TYPES} == {}
    assert PROPERTIES["composition.secondary_stack_variables"]["type"] == "string"


def test_properties_have_a_description():
    described = {name: prop.get("description") for name, prop in PROPERTIES.items()}
    assert [name for name, text in described.items() if not isinstance(text, str) or not text.strip()] == []


def test_a_stack_option_has_one_type():
    """The Go client expects a string; it can't parse any option if one has a list."""
    assert [name for name, prop in OPTIONS.items() if not isinstance(prop["type"], str)] == []


def test_bounds_of_stack_options_are_written_as_integers():
    """The Go client doesn't accept 1.0 as an integer."""
    assert [name for name, prop in OPTIONS.items() if {type(prop[key]) for key in BOUNDS & set(prop)} - {int}] == []


def test_a_stack_option_that_is_a_list_has_a_list_as_default():
    """The dashboard joins it with commas and fails without a list."""
    lists = {name: prop for name, prop in OPTIONS.items() if prop["type"] == "array"}
    assert [name for name, prop in lists.items() if not isinstance(prop.get("default"), list)] == []


def test_bounds_are_numbers():
    assert [
        name for name, prop in PROPERTIES.items() if {type(prop[key]) for key in BOUNDS & set(prop)} - {int, float}
    ] == []


def test_only_numbers_have_a_minimum_and_a_maximum():
    bounded = {name: prop for name, prop in PROPERTIES.items() if {"minimum", "maximum"} & set(prop)}
    assert [name for name, prop in bounded.items() if prop["type"] not in ("integer", "number")] == []


def test_a_minimum_is_below_its_maximum():
    ranges = {name: prop for name, prop in PROPERTIES.items() if {"minimum", "maximum"} <= set(prop)}
    assert [name for name, prop in ranges.items() if prop["minimum"] >= prop["maximum"]] == []


def test_choices_are_different_strings():
    choices = {name: prop["values"] for name, prop in PROPERTIES.items() if "values" in prop}
    assert [name for name, values in choices.items() if {type(value) for value in values} != {str}] == []
    assert [name for name, values in choices.items() if len(set(values)) < len(values)] == []


def test_defaults_are_values_that_would_be_accepted():
    defaults = {name: prop for name, prop in PROPERTIES.items() if "default" in prop}
    assert [name for name, prop in defaults.items() if not accepts(prop, prop["default"])] == []


def test_patterns_compile():
    for pattern in PATTERNS.values():
        re.compile(pattern)


def test_patterns_mean_the_same_in_javascript():
    assert [name for name, pattern in PATTERNS.items() if ONLY_IN_PYTHON.search(pattern)] == []


def test_patterns_begin_at_the_beginning():
    """Schemas match anywhere in a text: without an anchor, any text with six digits would be a color."""
    assert [name for name, pattern in PATTERNS.items() if not pattern.startswith("^")] == []


@pytest.mark.parametrize("anchor", ["auto", "face", "croparea", "left_top", "center_center", "right-bottom", "0_10000"])
def test_areas_and_positions_are_anchors(anchor):
    assert accepts(OPERATIONS["crop"]["properties"]["anchor"], anchor)


@pytest.mark.parametrize("anchor", ["", "top_left", "left", "left_top_", "10001_0", "-1_0", "nowhere"])
def test_other_texts_are_not_anchors(anchor):
    assert not accepts(OPERATIONS["crop"]["properties"]["anchor"], anchor)


@pytest.mark.parametrize("exclude", ["webp", "webp,avif", "svg_to_png, lossy_to_lossless_if_bigger"])
def test_formats_and_changes_can_be_excluded_from_autoformat(exclude):
    assert accepts(OPTIONS["autoformat.exclude"], exclude)


@pytest.mark.parametrize("exclude", ["", "webpavif", "bmp", "webp;avif"])
def test_nothing_else_can_be_excluded_from_autoformat(exclude):
    assert not accepts(OPTIONS["autoformat.exclude"], exclude)
