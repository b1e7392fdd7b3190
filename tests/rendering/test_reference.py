"""docs/reference/stacks.md lists exactly the operations and options of the catalogue."""

from typing import Any

import pytest

from rendering import contents
from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rendering.definitions import STORED_ONLY, UNAVAILABLE
from rendering.models import MAX_NAME_LENGTH, Stack
from tests.test_docs import read, section

pytestmark = pytest.mark.any_database


def rows_of(text: str) -> list[str]:
    """The rows of tables, without their heads."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if not row.startswith(("|---", "| Option |"))]


def row(name: str, prop: dict[str, Any]) -> str:
    default = prop.get("default", "")
    text = "" if default in ("", []) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"| `{name}` | {values(prop)} | {text} | {prop['description'].replace('|', '&#124;')} |"


def values(prop: dict[str, Any]) -> str:
    if "values" in prop:
        return ", ".join(f"`{value}`" for value in prop["values"])
    return f"{prop['type']}, {prop['minimum']} to {prop['maximum']}" if "minimum" in prop else prop["type"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_documented_with_its_options(name):
    operation = OPERATIONS[name]
    text = section(read("stacks.md"), f"### `{name}`")
    assert operation["description"] in text
    options = {option: prop for option, prop in operation["properties"].items() if option != "enabled"}
    assert rows_of(text) == [row(option, prop) for option, prop in options.items()]
    required = " and ".join(f"`{option}`" for option in operation["required"])
    assert ("Required: " in text) == bool(operation["required"] or operation.get("oneOf"))
    assert not required or f"Required: {required}." in text
    assert ("400 `feature_unavailable`" in text) == (name in UNAVAILABLE)


def test_no_other_operations_are_documented():
    operations = section(read("stacks.md"), "## Operations")
    headings = [line for line in operations.splitlines() if line.startswith("### ")]
    assert headings == [f"### `{name}`" for name in OPERATIONS]


def test_stack_options_are_documented():
    rows = rows_of(section(read("stacks.md"), "## Stack options"))
    assert rows == [row(name, prop) for name, prop in STACK_OPTIONS["properties"].items()]


def test_options_that_a_url_can_not_set_are_documented():
    text = section(read("stacks.md"), "## Stack options")
    assert all(f"`{name}`" in text.partition("A render URL can't set")[2].partition("\n\n")[0] for name in STORED_ONLY)


def test_limits_are_documented():
    limits = section(read("stacks.md"), "## Limits")
    numbers = (
        *(contents.MAX_OPERATIONS, contents.MAX_EXPRESSIONS, contents.MAX_VARIABLES, contents.MAX_BYTES),
        *(Stack.MAX_STACKS, MAX_NAME_LENGTH),
    )
    assert all(f"{number:,}" in limits for number in numbers)
