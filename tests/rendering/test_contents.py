"""Reading the content of a stack in all forms that clients send."""

import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendering import contents
from rendering.contents import StackContent, parse_content
from rendering.definitions import OPERATION_OPTIONS, OPTIONS
from rendering.errors import InvalidExpression, InvalidOperation, InvalidStack, InvalidStackOption, OperationUnavailable
from rokka.core.errors import DomainError

pytestmark = pytest.mark.any_database

RESIZE = {"name": "resize", "options": {"width": 200}}
EXPRESSION = {"expression": "options.dpr >= 2", "overrides": {"options": {"jpg.quality": 45}}}
PARTS = {"operations": [RESIZE], "options": {"jpg.quality": 60}, "expressions": [EXPRESSION], "variables": {"h": 100}}


def refusal(body: object, kind: type[Exception] = InvalidStack) -> str:
    with pytest.raises(kind) as error:
        parse_content(body)
    assert type(error.value) is kind
    return error.value.message


def test_short_and_long_names_mean_the_same():
    long = {f"stack_{name}": part for name, part in PARTS.items()}
    assert parse_content(PARTS) == parse_content(long) == StackContent(**PARTS)


def test_a_short_name_takes_precedence():
    assert parse_content({"operations": [RESIZE], "stack_operations": []}).operations == [RESIZE]
    assert parse_content({"operations": None, "stack_operations": [RESIZE]}).operations == [RESIZE]


def test_a_list_is_a_list_of_operations():
    assert parse_content([RESIZE]) == StackContent(operations=[RESIZE])
    assert parse_content([]) == StackContent()


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_empty_parts_may_be_missing_or_of_another_type(nothing):
    body = dict.fromkeys(PARTS, nothing)
    assert parse_content(body) == parse_content({}) == StackContent()


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_options_and_expressions_of_an_operation_may_be_empty(nothing):
    operation = {"name": "noop", "options": nothing, "expressions": nothing}
    assert parse_content([operation]).operations == [{"name": "noop", "options": {}}]


def test_unknown_keys_are_ignored():
    body = {**PARTS, "name": "x", "organization": "y", "created": "z", "link": None, "id": 7}
    body["operations"] = [RESIZE | {"id": "uuid", "errors": {}}]
    assert parse_content(body) == StackContent(**PARTS)


def test_variables_keep_their_order():
    variables = {"long_name": 1, "z": 2, "a": "$z + 1"}
    assert list(parse_content({"variables": variables}).variables) == ["long_name", "z", "a"]


def test_literals_of_variables_are_not_parsed():
    variables = {"text": "My text (", "color": "7DAD41", "on": True, "off": None, "ratio": 1.25}
    assert parse_content({"variables": variables}).variables == variables


def test_expressions_of_an_operation_can_be_numbers():
    operation = {"name": "resize", "expressions": {"width": 200, "upscale": False, "height": ""}}
    assert parse_content([operation]).operations == [
        {"name": "resize", "options": {}, "expressions": {"width": "200", "upscale": "false"}}
    ]


def test_expressions_of_svgdynamic_can_be_a_list():
    change = {"id": "line", "attr": "stroke", "value": "'#' ~ $color"}
    (operation,) = parse_content([{"name": "svgdynamic", "expressions": [change]}]).operations
    assert operation == {"name": "svgdynamic", "options": {}, "expressions": {"changes": [change]}}


def test_variables_of_a_secondary_stack_can_be_expressions():
    expressions = {"secondary_stack_variabels": {"w": "image.width"}}
    (operation,) = parse_content([{"name": "composition", "expressions": expressions}]).operations
    assert operation["expressions"] == {"secondary_stack_variables": {"w": "image.width"}}


@pytest.mark.parametrize("body", [None, "text", 7, True])
def test_a_body_that_is_no_object_and_no_list_is_refused(body):
    assert "must be a JSON object" in refusal(body)


@pytest.mark.parametrize(
    ("body", "kind", "part"),
    [
        ({"operations": {"name": "resize"}}, InvalidStack, "operations: must be a list."),
        ({"options": ["x"]}, InvalidStack, "options: must be an object."),
        ({"variables": "x"}, InvalidStack, "variables: must be an object."),
        ([RESIZE, {}], InvalidOperation, "operations[1]: must be an object with a name"),
        (["resize"], InvalidOperation, "operations[0]: must be an object with a name"),
        ([{"name": "resize", "options": [1]}], InvalidStack, "operations[0]: options: must be an object."),
        ([{"name": "resize"}], InvalidOperation, "operations[0]: resize: width or height required."),
        ([{"name": "face"}], OperationUnavailable, "operations[0]: face: "),
        ([{"name": "noop", "expressions": {"x": "1"}}], InvalidOperation, "operations[0]: noop: unknown option 'x'."),
        ([{"name": "crop", "expressions": {"width": "$w *"}}], InvalidExpression, "operations[0]: expressions.width: "),
        ([{"name": "crop", "expressions": {"width": ["$w"]}}], InvalidExpression, "must be a string."),
        ([{"name": "crop", "expressions": ["$w"]}], InvalidStack, "expressions: must be an object."),
        ([{"name": "svgdynamic", "expressions": [{"id": "a"}]}], InvalidOperation, "id, attr and value"),
        ({"expressions": ["x"]}, InvalidStack, "expressions[0]: must be an object"),
        ({"expressions": [{"overrides": {}}]}, InvalidExpression, "expressions[0]: must be a string."),
        ({"expressions": [EXPRESSION, {"expression": "1 +"}]}, InvalidExpression, "expressions[1]: "),
        ({"options": {"jpg.qualty": 1}}, InvalidStackOption, "Did you mean 'jpg.quality'"),
        ({"variables": {"w": [1]}}, InvalidStack, "variables: 'w' must be a string, a number"),
        ({"variables": {"a-b": 1}}, InvalidStack, "variables: invalid name 'a-b'."),
        ({"variables": {"": 1}}, InvalidStack, "variables: invalid name ''."),
        ({"description": ["x"]}, InvalidStack, "description: must be a string"),
        ({"variables": {"t": "a\0b"}}, InvalidStack, "NUL"),
        ({"anything": {"\ud800": 1}}, InvalidStack, "surrogates"),
        ({"variables": {"n": 10**400}}, InvalidStack, "Numbers must be between"),
        ({"variables": {"n": float("inf")}}, InvalidStack, "Numbers must be between"),
    ],
)
def test_an_error_names_the_place(body, kind, part):
    assert part in refusal(body, kind)


@pytest.mark.parametrize("option", ["protected", "source_file", "remote_fullurl_allow", "remote_basepath", "basestack"])
def test_an_expression_can_not_override_what_decides_about_access(option):
    value = {"basestack": "other", "remote_basepath": "https://example.org"}.get(option, True)
    body = {"expressions": [{"expression": "true", "overrides": {"options": {option: value}}}]}
    assert f"{option} can't depend on an expression" in refusal(body, InvalidStackOption)


def test_overrides_are_cast_like_options():
    overrides = {"options": {"jpg.quality": "45"}, "variables": [], "other": 1}
    (expression,) = parse_content({"expressions": [{"expression": "true", "overrides": overrides}]}).expressions
    assert expression["overrides"] == {"options": {"jpg.quality": 45}, "variables": {}}


# --- source_file ------------------------------------------------------------------------------------------------------


def test_a_stack_can_deliver_original_files():
    options = {"source_file": True, "protected": True, "content_disposition": "attachment"}
    assert parse_content({"operations": [], "options": options}).options == options


def test_defaults_and_false_are_accepted_beside_source_file():
    options = {"source_file": True, "jpg.quality": 80, "autoformat": False, "interlacing.mode": "plane"}
    assert parse_content({"options": options}).options == options


@pytest.mark.parametrize(
    "body",
    [
        {"operations": [RESIZE]},
        {"operations": [{"name": "noop"}]},
        {"expressions": [EXPRESSION]},
        {"options": {"jpg.quality": 60}},
        {"options": {"basestack": "other"}},
    ],
)
def test_a_stack_that_delivers_original_files_does_nothing_else(body):
    body["options"] = body.get("options", {}) | {"source_file": True}
    assert "source_file" in refusal(body)


# --- Limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("operations", lambda count: [{"name": "noop"}] * count),
        ("expressions", lambda count: [EXPRESSION] * count),
        ("variables", lambda count: {f"v{number}": number for number in range(count)}),
    ],
)
def test_the_number_of_parts_is_limited(name, make):
    limit = {"operations": 32, "expressions": 100, "variables": 100}[name]
    assert len(getattr(parse_content({name: make(limit)}), name)) == limit
    assert f"at most {limit}, not {limit + 1}" in refusal({name: make(limit + 1)})


def test_the_size_is_limited():
    body = {"variables": {f"v{number}": "x" * 1000 for number in range(49)}}
    assert parse_content(body)
    body["variables"]["last"] = "x" * 1000
    assert f"at most {contents.MAX_BYTES:,} bytes" in refusal(body)


def test_the_depth_is_limited():
    deep: list = []
    for _ in range(30):
        deep = [deep]
    assert "nested deeper" in refusal({"ignored": deep})


# --- Digest -----------------------------------------------------------------------------------------------------------


def test_the_digest_depends_on_everything_but_the_description():
    digest = parse_content(PARTS).digest
    assert parse_content(PARTS | {"description": "Thumbnails"}).digest == digest
    for name in PARTS:
        assert parse_content(PARTS | {name: None}).digest != digest
    one, other = ({"variables": variables} for variables in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert parse_content(one).digest != parse_content(other).digest


# --- Anything ---------------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["1", "$w"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def options_of(names: Iterable[str]) -> st.SearchStrategy:
    return st.dictionaries(st.sampled_from(sorted(names)), values, max_size=4) | values


operations = st.sampled_from(sorted(OPERATION_OPTIONS)).flatmap(
    lambda name: st.fixed_dictionaries(
        {"name": st.just(name)},
        optional={part: options_of(OPERATION_OPTIONS[name]) for part in ("options", "expressions")},
    )
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "operations": st.lists(operations, max_size=3) | values,
        "options": options_of(OPTIONS),
        "expressions": values,
        "variables": values,
        "description": values,
    },
)


@settings(max_examples=300, deadline=None)
@given(bodies)
def test_any_json_is_refused_or_stays_the_same_when_it_is_stored_and_sent_again(body):
    try:
        content = parse_content(body)
    except DomainError:
        return
    assert parse_content(json.loads(json.dumps(content.as_json()))) == content
