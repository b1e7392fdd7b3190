"""Validating and casting operations and stack options."""

import math

import pytest

from rendering import definitions
from rendering.catalogue import OPERATIONS
from rendering.definitions import (
    cast_operation,
    cast_stack_options,
    operation_defaults,
    resolve_operation,
    stack_option_defaults,
)
from rendering.errors import InvalidOperation, InvalidStackOption, OperationUnavailable

pytestmark = pytest.mark.any_database

RESIZE_DEFAULTS = {"mode": "box", "upscale": True, "upscale_dpr": True, "sharpen": False, "enabled": True}


def message(function, *arguments, **options) -> str:
    with pytest.raises((InvalidOperation, InvalidStackOption)) as error:
        function(*arguments, **options)
    return error.value.message


# --- Operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "given", "cast"),
    [
        ("resize", {"width": 200}, {"width": 200}),
        ("resize", {"width": "900"}, {"width": 900}),
        ("resize", {"width": "600 "}, {"width": 600}),
        ("resize", {"width": 200.0}, {"width": 200}),
        ("resize", {"width": "2e2"}, {"width": 200}),
        ("resize", {"width": 1, "upscale": "false"}, {"width": 1, "upscale": False}),
        ("resize", {"width": 1, "upscale": 1}, {"width": 1, "upscale": True}),
        ("resize", {"width": 1, "upscale": "TRUE"}, {"width": 1, "upscale": True}),
        ("resize", {"width": 1, "mode": None, "height": ""}, {"width": 1}),
        ("rotate", {"angle": "45"}, {"angle": 45}),
        ("rotate", {"angle": -12.5}, {"angle": -12.5}),
        ("rotate", {"angle": 0, "background_colour": "00ff00"}, {"angle": 0, "background_color": "00ff00"}),
        ("text", {"font": "3f5a1e", "text": " two  spaces "}, {"font": "3f5a1e", "text": " two  spaces "}),
        ("text", {"font": "3f5a1e", "text": 2026}, {"font": "3f5a1e", "text": "2026"}),
        ("circlemask", {"radius": 10}, {"radius": "10"}),
        ("circlemask", {"radius": "12.5%"}, {"radius": "12.5%"}),
        ("grayscale", {"levels": "2"}, {"levels": 2}),
        (
            "composition",
            {"secondary_stack_variables": {"w": 100, "t": "a b"}},
            {"secondary_stack_variables": "w=100&t=a+b"},
        ),
        ("composition", {"secondary_stack_variables": []}, {"secondary_stack_variables": ""}),
        (
            "svgdynamic",
            {"changes": [{"id": "line", "attr": "stroke-width", "value": 5, "note": "ignored"}]},
            {"changes": [{"id": "line", "attr": "stroke-width", "value": "5"}]},
        ),
    ],
)
def test_values_are_cast_to_the_types_of_the_catalogue(operation, given, cast):
    result = cast_operation(operation, given)
    assert result == cast
    assert [type(value) for value in result.values()] == [type(value) for value in cast.values()]


@pytest.mark.parametrize(
    ("operation", "given", "part"),
    [
        ("resize", {"width": 0}, "width must be an integer from 1 to 10000, not 0."),
        ("resize", {"width": 10_001}, "not 10001."),
        ("resize", {"width": 200.5}, "not 200.5."),
        ("resize", {"width": "wide"}, "not 'wide'."),
        ("resize", {"width": True}, "not True."),
        ("resize", {"width": [200]}, "not [200]."),
        ("resize", {"width": math.inf}, "not inf."),
        ("resize", {"width": "9" * 400}, "width must be"),
        ("resize", {"width": "٣٠٠"}, "width must be"),
        ("resize", {"width": 1, "upscale": "maybe"}, "upscale must be true or false, not 'maybe'."),
        ("resize", {"width": 1, "mode": "stretch"}, "mode must be one of box, absolute, fill, not 'stretch'."),
        ("rotate", {"angle": 361}, "angle must be a number from -360 to 360"),
        ("rotate", {"angle": 1, "background_color": "#FF0000"}, "six hex digits, no #."),
        ("rotate", {"angle": 1, "background_color": "FF0000\nFF"}, "background_color must match"),
        ("text", {"font": "3f5a1e", "text": "a\0b"}, "text must be a string"),
        ("text", {"font": "3f5a1e", "text": "\ud800"}, "text must be a string"),
        ("text", {"font": "3f5a1e", "text": "x" * 10_001}, "text must be a string"),
        ("circlemask", {"radius": "ten"}, "radius must match"),
        ("svgdynamic", {"changes": [{"id": "line"}]}, "changes must be a list of objects with id, attr, value"),
        ("svgdynamic", {"changes": {"id": "line"}}, "changes must be a list"),
        ("grayscale", {"levels": 1}, "levels must be an integer from 2 to 256"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_the_rule(operation, given, part):
    refusal = message(cast_operation, operation, given)
    assert refusal.startswith(f"{operation}: ")
    assert part in refusal
    assert len(refusal) < 600


def test_an_unknown_operation_is_refused_with_a_suggestion():
    assert message(cast_operation, "resise", {}) == "Unknown operation 'resise'. Did you mean 'resize'?"
    assert "Use one of addframes, alpha," in message(cast_operation, "zzzz", {})


def test_an_unknown_option_is_refused_with_a_suggestion():
    assert message(cast_operation, "resize", {"widht": 200}) == (
        "resize: unknown option 'widht'. Did you mean 'width'?"
    )
    assert "unknown option 'color'" in message(cast_operation, "resize", {"width": 1}, expressions=["color"])


@pytest.mark.parametrize(
    ("operation", "given", "refusal"),
    [
        ("resize", {"mode": "box"}, "resize: width or height required."),
        ("crop", {"width": 100}, "crop: height required."),
        ("crop", {"width": None, "height": ""}, "crop: width and height required."),
        ("text", {}, "text: font and text required."),
    ],
)
def test_required_options_are_required(operation, given, refusal):
    assert message(cast_operation, operation, given) == refusal
    assert message(resolve_operation, operation, given) == refusal


def test_an_expression_counts_for_a_required_option():
    assert cast_operation("crop", {"width": 100}, expressions=["height"]) == {"width": 100}
    assert cast_operation("resize", {}, expressions={"width": "$w"}) == {}


@pytest.mark.parametrize("operation", ["primitive", "face"])
def test_an_operation_that_this_server_lacks_is_unavailable(operation):
    with pytest.raises(OperationUnavailable):
        cast_operation(operation, {})
    with pytest.raises(OperationUnavailable):
        cast_operation(operation, {}, from_url=True)
    with pytest.raises(OperationUnavailable):
        resolve_operation(operation, {})


def test_options_in_a_url_override_single_options():
    assert cast_operation("crop", {"anchor": "left_top"}, from_url=True) == {"anchor": "left_top"}
    assert cast_operation("resize", {"width": "333.5"}, from_url=True) == {"width": 334}
    assert "unknown option" in message(cast_operation, "resize", {"widht": "1"}, from_url=True)


def test_resolving_fills_in_defaults():
    assert resolve_operation("resize", {"width": "200"}) == RESIZE_DEFAULTS | {"width": 200}
    assert resolve_operation("noop", {}) == {"enabled": True}


@pytest.mark.parametrize(("value", "width"), [(199.5, 200), (199.4, 199), ("200", 200), (2.5, 3)])
def test_resolving_rounds_to_integers(value, width):
    assert resolve_operation("resize", {"width": value})["width"] == width


@pytest.mark.parametrize("nothing", [0, None, "0", "", 0.2])
def test_resolving_takes_zero_for_an_optional_size_as_not_given(nothing):
    assert resolve_operation("resize", {"width": 10, "height": nothing}) == RESIZE_DEFAULTS | {"width": 10}


def test_resolving_refuses_zero_for_a_required_size():
    assert "width must be an integer from 1" in message(resolve_operation, "crop", {"width": 0, "height": 10})
    assert message(resolve_operation, "resize", {"width": 0}) == "resize: width or height required."


def test_resolving_refuses_negative_sizes():
    assert "not -5" in message(resolve_operation, "resize", {"width": 10, "height": -5})


def test_a_disabled_operation_is_not_checked():
    assert resolve_operation("crop", {"enabled": False, "width": 0}) == {"enabled": False}
    assert resolve_operation("crop", {"enabled": "false"}) == {"enabled": False}
    assert resolve_operation("crop", {"enabled": 0}) == {"enabled": False}


def test_an_empty_text_can_be_drawn_but_not_saved():
    assert resolve_operation("text", {"font": "3f5a1e", "text": ""})["text"] == ""
    assert message(cast_operation, "text", {"font": "3f5a1e", "text": ""}) == "text: text required."


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - definitions.UNAVAILABLE.keys()))
def test_defaults_are_valid(operation):
    defaults = operation_defaults(operation)
    assert cast_operation(operation, defaults, from_url=True) == defaults


# --- Stack options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "cast"),
    [
        ({"jpg.quality": "60"}, {"jpg.quality": 60}),
        ({"af": "1"}, {"autoformat": True}),
        ({"jpeg.quality": 60}, {"jpg.quality": 60}),
        ({"dpr": "1.5"}, {"dpr": 1.5}),
        ({"jpg.transparency.autoformat": True}, {"jpg.transparency.autoformat": "true"}),
        ({"jpg.transparency.autoformat": "png"}, {"jpg.transparency.autoformat": "png"}),
        ({"transparency.color": None, "timestamp": ""}, {}),
    ],
)
@pytest.mark.parametrize("from_url", [False, True])
def test_stack_options_are_cast(given, cast, from_url):
    assert cast_stack_options(given, from_url=from_url) == cast


@pytest.mark.parametrize("from_url", [False, True])
def test_an_invalid_stack_option_is_refused(from_url):
    refusal = message(cast_stack_options, {"jpg.quality": 101}, from_url=from_url)
    assert refusal == "jpg.quality must be an integer from 1 to 100, not 101."


def test_an_unknown_stack_option_is_refused_when_saving_and_ignored_in_a_url():
    refusal = message(cast_stack_options, {"jpg.qualty": 80}, from_url=False)
    assert refusal.startswith("Unknown stack option 'jpg.qualty'. Did you mean 'jpg.quality'")
    assert cast_stack_options({"jpg.qualty": "80", "dpr": "2"}, from_url=True) == {"dpr": 2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protected", "false"),
        ("source_file", "true"),
        ("remote_basepath", "https://example.org"),
        ("remote_fullurl_allow", "true"),
        ("remote_fullurl_whitelist", ".*"),
    ],
)
def test_a_url_can_not_change_what_decides_about_access(name, value):
    assert cast_stack_options({name: value, "dpr": "2"}, from_url=True) == {"dpr": 2}
    assert name in cast_stack_options({name: value}, from_url=False)


def test_patterns_of_hosts_are_regular_expressions():
    hosts = {"remote_fullurl_whitelist": [r"images\.example\.org", ".*"]}
    assert cast_stack_options(hosts, from_url=False) == hosts
    refusal = message(cast_stack_options, {"remote_fullurl_whitelist": ["("]}, from_url=False)
    assert "'(' is invalid" in refusal


def test_defaults_of_stack_options_are_valid():
    defaults = stack_option_defaults()
    assert cast_stack_options(defaults, from_url=False) == defaults
    assert defaults["jpg.quality"] == 80


def test_defaults_can_be_changed_without_changing_the_catalogue():
    stack_option_defaults()["remote_fullurl_whitelist"].append("x")
    assert stack_option_defaults()["remote_fullurl_whitelist"] == []
