"""The grammar of render URLs, rule by rule."""

import json
from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendering.errors import InvalidRenderURL, RenderTooLarge
from rendering.grammar import (
    MAX_OPERATIONS,
    MAX_URL_LENGTH,
    Expression,
    ImageReference,
    OperationCall,
    locate,
    parse,
    without_slug,
)
from rokka.core.errors import InvalidInput, NotFound

pytestmark = pytest.mark.any_database

IMAGE = "0123abcd.jpg"


def read(path):
    return parse(path, "", "acme")


def operations(segments):
    return [(call.name, call.options) for call in read(f"/dynamic/{segments}/{IMAGE}").operations]


def overrides(segments):
    return [(call.name, call.options) for call in read(f"/thumb/{segments}/{IMAGE}").overrides]


# Operations, options and variables.


def test_the_first_segment_of_the_dynamic_stack_lists_operations_in_order():
    assert operations("resize-width-200--crop-width-5-height-6--resize-width-9") == [
        ("resize", {"width": "200"}),
        ("crop", {"width": "5", "height": "6"}),
        ("resize", {"width": "9"}),
    ]


def test_later_segments_override_all_operations_of_the_name():
    assert operations("resize-width-1--resize-width-2/resize-height-3") == [
        ("resize", {"width": "1", "height": "3"}),
        ("resize", {"width": "2", "height": "3"}),
    ]


def test_later_segments_add_no_operation():
    assert operations("resize-width-1/crop-width-2-height-2--o-dpr-2") == [("resize", {"width": "1"})]


def test_a_first_segment_with_options_only_defines_no_operation():
    assert operations("o-dpr-2/resize-width-5") == []


def test_segments_of_a_stored_stack_override_an_operation_once():
    url = read(f"/thumb/resize-width-1-mode-box/resize-width-2--noop/{IMAGE}")
    assert url.operations is None
    assert url.overrides == (OperationCall("resize", {"width": "2", "mode": "box"}), OperationCall("noop", {}))


def test_a_url_without_segments_has_no_operations():
    assert read(f"/dynamic/{IMAGE}").operations == ()
    assert read(f"/thumb/{IMAGE}").overrides == ()


@pytest.mark.parametrize("name", ["o", "options"])
def test_stack_options_have_a_long_and_a_short_name(name):
    assert read(f"/thumb/{name}-jpg.quality-60-dpr-2/{IMAGE}").options == {"jpg.quality": "60", "dpr": "2"}


@pytest.mark.parametrize("name", ["v", "variables"])
def test_stack_variables_have_a_long_and_a_short_name(name):
    assert read(f"/thumb/{name}-w-900/{name}-w-800/{IMAGE}").variables == {"w": "800"}


def test_af_is_autoformat():
    assert read(f"/thumb/o-af-1/{IMAGE}").options == {"autoformat": "1"}


def test_a_variable_may_be_empty():
    assert read(f"/thumb/v-t---o-dpr-2/v-u-/{IMAGE}").variables == {"t": "", "u": ""}


@pytest.mark.parametrize("segment", ["o-dpr", "resize-width-5-height", "v-t--o-dpr-2"])
def test_a_key_without_a_value_is_invalid(segment):
    with pytest.raises(InvalidRenderURL, match="has no value"):
        overrides(segment)


def test_a_part_without_a_name_is_invalid():
    with pytest.raises(InvalidRenderURL, match="has no name"):
        overrides("-width-5")


def test_negative_numbers_are_joined_again():
    assert overrides("dropshadow-horizontal--5-vertical--0.5-color-0000FF--rotate-angle--45") == [
        ("dropshadow", {"horizontal": "-5", "vertical": "-0.5", "color": "0000FF"}),
        ("rotate", {"angle": "-45"}),
    ]


def test_undefined_options_are_not_given():
    url = read(f"/dynamic/resize-width-5-height-6-upscale-__undefined__/resize-height-__undefined__/{IMAGE}")
    assert url.operations == (OperationCall("resize", {"width": "5"}),)
    assert url.undefined == ("resize.upscale", "resize.height")


def test_a_later_value_defines_an_option_again():
    url = read(f"/thumb/resize-width-__undefined__/resize-width-5/{IMAGE}")
    assert (url.overrides, url.undefined) == ((OperationCall("resize", {"width": "5"}),), ())


def test_repeated_slashes_count_once():
    url = read(f"//thumb///o-dpr-2//{IMAGE}")
    assert (url.stack, url.options) == ("thumb", {"dpr": "2"})


def test_encoded_separators_belong_to_the_value():
    assert operations("text-text-a%2Fb%2D%2Dc%20%C3%BC") == [("text", {"text": "a/b--c ü"})]


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        ("[$w*2]", "$w*2"),
        ("[$w-10]", "$w-10"),
        ("[$w/2]", "$w/2"),
        ("%5B$w%20--%202%5d", "$w -- 2"),
        ("[$w in [1,2] ? 3-1 : 4/2]", "$w in [1,2] ? 3-1 : 4/2"),
    ],
)
def test_a_value_in_brackets_is_an_expression(value, expression):
    assert operations(f"resize-width-{value}-height-4--noop") == [
        ("resize", {"width": Expression(expression), "height": "4"}),
        ("noop", {}),
    ]


@pytest.mark.parametrize("text", ["a[1]", "[a]b", "[", "]", "%5B", "[[a]"])
def test_other_brackets_are_text(text):
    assert operations(f"text-text-{text}--noop")[0] == ("text", {"text": text.replace("%5B", "[")})


def test_an_unclosed_bracket_does_not_hide_a_later_expression():
    url = read(f"/thumb/v-t-%5B/resize-width-[$w-1]/{IMAGE}")
    assert url.variables == {"t": "["}
    assert url.overrides == (OperationCall("resize", {"width": Expression("$w-1")}),)


def test_variables_in_brackets_are_text():
    assert read(f"/thumb/v-t-[a-b]/{IMAGE}").variables == {"t": "[a-b]"}


@pytest.mark.parametrize("text", ["%ff", "%00", "\udc80"])
def test_values_are_valid_text(text):
    with pytest.raises(InvalidRenderURL):
        overrides(f"text-text-{text}")


# Limits.


def test_a_url_has_a_length_limit():
    padding = MAX_URL_LENGTH - len(f"/thumb/{IMAGE}?")
    parse(f"/thumb/{IMAGE}", "x" * padding, "acme")
    with pytest.raises(InvalidRenderURL, match="8000"):
        parse(f"/thumb/{IMAGE}", "x" * (padding + 1), "acme")


def test_a_url_has_a_limit_on_operations():
    assert len(operations("--".join(["noop"] * MAX_OPERATIONS))) == MAX_OPERATIONS
    with pytest.raises(RenderTooLarge, match="32"):
        operations("--".join(["noop"] * (MAX_OPERATIONS + 1)))
    with pytest.raises(RenderTooLarge, match="32"):
        overrides("/".join(f"x{number}" for number in range(MAX_OPERATIONS + 1)))


# Where the organization is.


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("acme.img.example", "/thumb/a.jpg", ("acme", "/thumb/a.jpg", "")),
        ("ACME.img.example.:8000", "/render/x/a.jpg", ("acme", "/render/x/a.jpg", "")),
        ("img.example", "/render/acme/thumb/a.jpg", ("acme", "/thumb/a.jpg", "/render/acme")),
        ("[::1]:8000", "//render//acme//thumb/a.jpg", ("acme", "//thumb/a.jpg", "//render//acme")),
        ("img.example", "/thumb/a.jpg", None),
        ("img.example", "/render/acme", None),
        ("img.example", "/render/Acme/a.jpg", None),
        ("a.b.img.example", "/thumb/a.jpg", None),
        ("-.img.example", "/thumb/a.jpg", None),
        ("acme.other.example", "/thumb/a.jpg", None),
    ],
)
def test_the_organization_is_in_the_host_or_the_path(host, path, expected):
    assert locate(host, path, "img.example:80") == expected


def test_without_a_render_domain_the_organization_is_in_the_path():
    assert locate("acme.example", "/thumb/a.jpg", "") is None
    assert locate("acme.example", "/render/acme/a.jpg", "") == ("acme", "/a.jpg", "/render/acme")


def test_the_slug_can_be_removed_from_the_path():
    assert without_slug("/thumb/v-t-a%2Fb/0123ab//red-barn.v2.jpg") == "/thumb/v-t-a%2Fb/0123ab.jpg"


# Any text.

separators = ["/", "//", "-", "--", "---", "[", "]", "%5B", "%5d", "%", "%ff", "-_", "_-", ".", "\ud800", "\0"]
words = ["resize", "width", "200", "o", "v", "t", "__undefined__", "0123ab", "https:/", ".jpg", "v1", "$w", "é"]
fragments = st.sampled_from(separators + words)
paths = st.one_of(st.text(max_size=60), st.lists(fragments, max_size=30).map("".join))
queries = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["v=", "sigopts=", "sig"]).flatmap(lambda key: st.text(max_size=40).map(key.__add__)),
)


@settings(deadline=200, max_examples=300)
@given(paths, queries, st.booleans())
def test_any_url_has_a_meaning_or_is_refused(path, query, complete):
    try:
        url = parse(f"/dynamic/{path}/{IMAGE}" if complete else path, query, "acme")
    except (InvalidInput, NotFound):
        return
    assert isinstance(url.image, ImageReference)
    json.dumps(url.describe()).encode()


@pytest.mark.parametrize(
    "text",
    ["/", "/a", "/-a", "/-", "-", "--", "-[", "[", "]", "-]", "[]", "/-[", "%5B", "-1", "--1", "a-b-", "/-a-", "v"],
)
def test_long_urls_are_parsed_quickly(text):
    times = []
    for _ in range(3):
        started = process_time()
        with suppress(InvalidInput, NotFound):
            read(f"/dynamic/{text * ((MAX_URL_LENGTH - 50) // len(text))}/{IMAGE}")
        times.append(process_time() - started)
    assert min(times) < 0.1
