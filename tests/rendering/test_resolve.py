"""From a URL, a stack and the facts of an image to a recipe. No database, no files."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rendering.contents import StackContent, parse_content
from rendering.errors import (
    FormatUnavailable,
    InvalidExpression,
    InvalidOperation,
    InvalidStack,
    OperationUnavailable,
    RenderTooLarge,
    StackNotFound,
)
from rendering.grammar import parse
from rendering.output import Preferences
from rendering.resolve import Recipe, Source, resolve
from sourceimages.errors import ImageNotFound
from sourceimages.formats import RENDERABLE

pytestmark = pytest.mark.any_database

HASH = "0123456789abcdef0123456789abcdef01234567"
PHOTO = Source(hash=HASH, content_hash="a" * 64, format="jpg", width=300, height=200)
LOGO = Source(hash="1" * 40, content_hash="b" * 64, format="png", width=40, height=40)
FONT = Source(hash="2" * 40, content_hash="c" * 64, format="ttf", width=0, height=0)
CHROME = "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"


class Known:
    """The stacks and images of an organization."""

    def __init__(self, stacks: Mapping[str, Any]) -> None:
        self.stacks = {name: parse_content(body) for name, body in stacks.items()}

    def stack(self, name: str) -> StackContent:
        if name not in self.stacks:
            raise StackNotFound(f"No stack {name!r}.")
        return self.stacks[name]

    def image(self, hash: str) -> Source:
        images = {image.hash: image for image in (PHOTO, LOGO, FONT)}
        if hash not in images:
            raise ImageNotFound(f"No image {hash!r}.")
        return images[hash]

    def entropy(self, source: Source) -> float | None:
        return 7.0 if source == PHOTO else 1.0


def recipe(
    path: str,
    stack: Any = None,
    *,
    source: Source = PHOTO,
    accept: str = "",
    save_data: bool = False,
    query: str = "",
    **others: Any,
) -> Recipe:
    """The recipe of `/{path}/{hash}.jpg`, or of a path with a format; `others` are more stacks by name."""
    known = Known(others)
    stem, dot, format = path.rpartition(".")
    if not dot or "/" in format or not format.isalnum() or format.isdigit():
        stem, format = path, "jpg"
    url = parse(f"/{stem}/{HASH}.{format}", query, "acme")
    content = parse_content(stack) if stack is not None else None
    return resolve(url, source, content, known, Preferences(accept, save_data))


def steps(found: Recipe) -> list[tuple[str, dict[str, Any]]]:
    return [(operation["name"], operation["options"]) for operation in found.body["operations"]]


def size(found: Recipe) -> tuple[Any, Any]:
    """Width and height of the first operation."""
    options = steps(found)[0][1]
    return options.get("width"), options.get("height")


def output(found: Recipe) -> dict[str, Any]:
    return {"format": found.body["output"]["format"], **found.body["output"]["options"]}


RESIZE = {"name": "resize", "options": {"width": 200}}

# --- Operations -------------------------------------------------------------------------------------------------------


def test_operations_keep_their_order():
    found = recipe("dynamic/grayscale--resize-width-10--blur-sigma-2")
    assert [name for name, _ in steps(found)] == ["grayscale", "resize", "blur"]


def test_defaults_are_filled_in():
    assert steps(recipe("dynamic/resize-width-10"))[0][1]["mode"] == "box"


def test_noop_and_disabled_operations_are_left_out():
    stack = [{"name": "noop"}, {"name": "blur", "options": {"enabled": False}}, RESIZE]
    assert [name for name, _ in steps(recipe("thumb", stack))] == ["resize"]


def test_an_operation_can_be_disabled_by_an_expression():
    stack = [{"name": "blur", "expressions": {"enabled": "image.width > 1000"}}, RESIZE]
    assert [name for name, _ in steps(recipe("thumb", stack))] == ["resize"]
    assert [name for name, _ in steps(recipe("thumb", stack, source=replace(PHOTO, width=2000)))] == ["blur", "resize"]


def test_the_url_overrides_options_of_a_stack():
    assert size(recipe("thumb/resize-width-50", [RESIZE])) == (50, None)


def test_the_url_overrides_expressions_of_a_stack():
    stack = [{"name": "resize", "expressions": {"width": "image.width / 2"}}]
    assert size(recipe("thumb", stack)) == (150, None)
    assert size(recipe("thumb/resize-width-50", stack)) == (50, None)


def test_operations_that_a_stack_does_not_have_are_ignored_in_its_urls():
    assert [name for name, _ in steps(recipe("thumb/blur-sigma-2", [RESIZE]))] == ["resize"]


def test_an_option_in_the_url_can_be_an_expression():
    assert size(recipe("dynamic/resize-width-[image.width*2]")) == (600, None)


def test_results_of_expressions_are_rounded():
    assert size(recipe("dynamic/resize-width-[image.width/7]")) == (43, None)


def test_zero_is_not_given():
    assert size(recipe("dynamic/resize-width-100-height-[0*2]")) == (100, None)


def test_unknown_options_are_refused():
    with pytest.raises(InvalidOperation, match="resize"):
        recipe("dynamic/resize-width-100-wdith-3")


@pytest.mark.parametrize("name", ["primitive", "face"])
def test_operations_that_this_server_does_not_have_are_refused(name):
    with pytest.raises(OperationUnavailable):
        recipe(f"dynamic/{name}")


def test_the_number_of_operations_is_limited():
    with pytest.raises(RenderTooLarge, match="32"):
        recipe("dynamic/" + "--".join(["grayscale"] * 33))


# --- Device pixel ratio -----------------------------------------------------------------------------------------------


def test_operations_know_the_dpr():
    found = recipe("dynamic/resize-width-10--crop-width-5-height-5/o-dpr-2")
    assert [operation["dpr"] for operation in found.body["operations"]] == [2, 2]


def test_dpr_requires_a_resize():
    with pytest.raises(InvalidOperation, match="resize"):
        recipe("dynamic/grayscale/o-dpr-2")


def test_a_resize_of_the_base_stack_does_not_count():
    with pytest.raises(InvalidOperation, match="resize"):
        recipe("thumb/o-dpr-2", {"options": {"basestack": "base"}}, base=[RESIZE])


def test_operations_of_the_base_stack_come_first_and_ignore_the_dpr():
    stack = {"operations": [{"name": "resize", "options": {"width": 50}}], "options": {"basestack": "base", "dpr": 2}}
    found = recipe("thumb", stack, base={"operations": [RESIZE], "options": {"dpr": 3}})
    assert [(one["options"]["width"], one["dpr"]) for one in found.body["operations"]] == [(200, 1), (50, 2)]


def test_base_stacks_can_have_base_stacks():
    stack = {"operations": [{"name": "grayscale"}], "options": {"basestack": "middle"}}
    middle = {"operations": [{"name": "sepia"}], "options": {"basestack": "bottom"}}
    found = recipe("thumb", stack, middle=middle, bottom=[{"name": "trim"}])
    assert [name for name, _ in steps(found)] == ["trim", "sepia", "grayscale"]


def test_base_stacks_cannot_refer_to_each_other():
    a, b = {"options": {"basestack": "b"}}, {"options": {"basestack": "a"}}
    with pytest.raises(InvalidStack, match="circle"):
        recipe("thumb", a, a=a, b=b)


@pytest.mark.parametrize(("path", "quality"), [("", 80), ("/o-dpr-2", 70), ("/o-dpr-2--o-jpg.quality-85", 85)])
def test_the_default_quality_is_lower_for_high_resolutions(path, quality):
    assert output(recipe(f"dynamic/resize-width-10{path}"))["jpg.quality"] == quality


# --- Variables and expressions ----------------------------------------------------------------------------------------

WIDTH_FROM_VARIABLE = [{"name": "resize", "expressions": {"width": "$w"}}]


def test_variables_have_default_values():
    assert size(recipe("thumb", {"operations": WIDTH_FROM_VARIABLE, "variables": {"w": 30}})) == (30, None)


def test_variables_in_the_path_replace_default_values():
    assert size(recipe("thumb/v-w-40", {"operations": WIDTH_FROM_VARIABLE, "variables": {"w": 30}})) == (40, None)


def test_variables_in_the_query_win():
    stack = {"operations": WIDTH_FROM_VARIABLE, "variables": {"w": 30}}
    assert size(recipe("thumb/v-w-40", stack, query="v=%7B%22w%22%3A50%7D")) == (50, None)


def test_variables_can_use_those_before_them():
    stack = {"operations": WIDTH_FROM_VARIABLE, "variables": {"a": 10, "w": "$a * 3"}}
    assert size(recipe("thumb", stack)) == (30, None)
    assert size(recipe("thumb/v-a-4", stack)) == (12, None)


@pytest.mark.parametrize("text", ["My text", "_no_text_", "7DAD41", "2 + 2", "$100 only"])
def test_texts_that_are_no_expressions_stay_as_they_are(text):
    stack = {
        "operations": [{"name": "text", "options": {"font": FONT.hash}, "expressions": {"text": "$t"}}],
        "variables": {"t": text},
    }
    assert steps(recipe("thumb", stack))[0][1]["text"] == text


def test_a_variable_from_the_url_is_never_an_expression():
    stack = {
        "operations": [{"name": "text", "options": {"font": FONT.hash}, "expressions": {"text": "$t"}}],
        "variables": {"t": ""},
    }
    found = recipe("thumb", stack, query="v=%7B%22t%22%3A%22image.width%22%7D")
    assert steps(found)[0][1]["text"] == "image.width"


def test_a_missing_variable_is_named():
    with pytest.raises(InvalidExpression, match="w"):
        recipe("thumb", WIDTH_FROM_VARIABLE)


def test_stack_expressions_apply_in_order_and_win_over_the_url():
    stack = {
        "operations": [RESIZE],
        "expressions": [
            {"expression": "options.dpr > 1.5", "overrides": {"options": {"jpg.quality": 60}}},
            {"expression": "options.dpr > 2.5", "overrides": {"options": {"jpg.quality": 40}}},
        ],
    }
    found = [output(recipe(f"thumb/o-dpr-{dpr}--o-jpg.quality-90", stack))["jpg.quality"] for dpr in (1, 2, 3)]
    assert found == [90, 60, 40]


def test_stack_expressions_can_set_variables():
    rule = {"expression": "image.width > image.height", "overrides": {"variables": {"w": 70}}}
    stack = {"operations": WIDTH_FROM_VARIABLE, "variables": {"w": 30}, "expressions": [rule]}
    assert size(recipe("thumb", stack)) == (70, None)


def test_expressions_see_the_upright_size():
    turned = replace(PHOTO, orientation=6)
    assert size(recipe("dynamic/resize-width-[image.width]", source=turned)) == (200, None)


def test_expressions_see_user_metadata():
    photo = replace(PHOTO, user_metadata={"int:size": 33, "size": 33})
    assert size(recipe("dynamic/resize-width-[image.meta_user.size]", source=photo)) == (33, None)


def test_expressions_see_the_entropy():
    stack = [{"name": "sharpen", "expressions": {"enabled": "image.entropy > 5"}}]
    assert [len(steps(recipe("thumb", stack, source=source))) for source in (PHOTO, LOGO)] == [1, 0]


def test_save_data_is_part_of_vary_only_if_it_is_read():
    stack = {
        "operations": [RESIZE],
        "expressions": [
            {"expression": "request.headers.save_data == 'on'", "overrides": {"options": {"jpg.quality": 20}}}
        ],
    }
    saving, other = recipe("thumb", stack, save_data=True), recipe("thumb", stack)
    assert output(saving)["jpg.quality"] == 20
    assert saving.vary == other.vary == ("Save-Data",)
    assert recipe("thumb", [RESIZE], save_data=True).vary == ()


# --- Options of the URL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["protected-1", "source_file-1", "remote_basepath-http"])
def test_a_url_cannot_set_what_only_a_stack_may(option):
    assert recipe(f"thumb/o-{option}", [RESIZE]).key == recipe("thumb", [RESIZE]).key


# --- Formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "accept", "format"),
    [
        ("jpg", CHROME, "avif"),
        ("png", CHROME, "avif"),
        ("jpg", "image/webp,*/*", "webp"),
        ("jpg", "*/*", "jpg"),
        ("jpg", "", "jpg"),
        ("jpg", "image/avif;q=0, image/webp", "webp"),
        ("gif", CHROME, "gif"),
        ("webp", CHROME, "webp"),
    ],
)
def test_autoformat_follows_the_accept_header(requested, accept, format):
    found = recipe(f"dynamic/o-af-1.{requested}", accept=accept)
    assert output(found)["format"] == format
    assert found.vary == (("Accept",) if requested in ("jpg", "png") else ())


def test_without_autoformat_the_accept_header_does_not_matter():
    found = recipe("dynamic.jpg", accept=CHROME)
    assert output(found)["format"] == "jpg"
    assert found.vary == ()


def test_formats_can_be_excluded_from_autoformat():
    stack = {"options": {"autoformat": True, "autoformat.exclude": "avif"}}
    assert output(recipe("thumb", stack, accept=CHROME))["format"] == "webp"


@pytest.mark.parametrize(
    ("path", "quality"), [("o-af-1.png", 100), ("o-af-1.jpg", 80), ("o-af-1--o-webp.quality-60.png", 60)]
)
def test_a_webp_instead_of_a_png_is_lossless(path, quality):
    assert output(recipe(f"dynamic/{path}", accept="image/webp"))["webp.quality"] == quality


@pytest.mark.parametrize(("path", "level"), [("dynamic.png", None), ("dynamic/o-png.compression_level-7.png", 7)])
def test_the_compression_of_png_is_left_to_the_worker_unless_it_is_given(path, level):
    assert output(recipe(path))["png.compression_level"] == level


@pytest.mark.parametrize("format", ["mp4", "webm", "m3u8", "heif", "pdf"])
def test_formats_that_cannot_be_written_are_refused(format):
    with pytest.raises(FormatUnavailable):
        recipe(f"dynamic.{format}")


def test_videos_are_refused_as_sources():
    with pytest.raises(FormatUnavailable, match="video"):
        recipe("dynamic", source=replace(PHOTO, format="mp4"))


def test_an_svg_stays_a_vector_image_if_the_operations_allow():
    logo = replace(LOGO, format="svg")
    assert output(recipe("dynamic/resize-width-10.svg", source=logo))["format"] == "svg"
    with pytest.raises(FormatUnavailable, match="vector"):
        recipe("dynamic/blur-sigma-2.svg", source=logo)


def test_autoformat_answers_a_bitmap_where_an_svg_is_impossible():
    assert output(recipe("dynamic/o-af-1.svg", accept="image/webp"))["format"] == "webp"
    assert output(recipe("dynamic/o-af-1.svg"))["format"] == "png"


def test_transparent_results_can_have_another_format_than_jpeg():
    stack = {"options": {"jpg.transparency.autoformat": "true"}}
    found = recipe("thumb", stack, source=LOGO, accept="image/webp")
    assert found.body["output"]["transparent_format"] == "webp"
    assert found.formats == ("jpg", "webp")
    assert found.vary == ("Accept",)


def test_transparency_can_be_replaced_also_where_another_format_was_chosen():
    stack = {"options": {"autoformat": True, "jpg.transparency.convert": True, "jpg.transparency.color": "00FF00"}}
    assert output(recipe("thumb", stack, accept="image/webp"))["transparency.color"] == "00FF00"
    assert "transparency.color" not in output(recipe("thumb.png", stack, accept="image/webp"))


def test_a_document_becomes_a_placeholder():
    found = recipe("dynamic/resize-width-10", source=replace(PHOTO, format="docx"))
    assert found.body["source"]["format"] == "placeholder"
    assert found.body["source"]["label"] == "DOCX"


def test_an_image_whose_decoder_is_not_installed_becomes_a_placeholder(monkeypatch):
    monkeypatch.setattr("rendering.resolve.RENDERABLE", RENDERABLE - {"heic"})
    monkeypatch.setattr("rendering.resolve.UNDECODABLE", {"heic"})
    found = recipe("dynamic/resize-width-10", source=replace(PHOTO, format="heic"))
    expected = {"format": "placeholder", "label": "HEIC", "message": "Its decoder is not installed"}
    assert found.body["source"] == expected


# --- Other images and stacks ------------------------------------------------------------------------------------------


def test_a_composition_contains_the_recipe_of_the_secondary_image():
    found = recipe(f"dynamic/composition-mode-background-secondary_image-{LOGO.hash}")
    assert steps(found)[0][1]["secondary"]["source"] == {"file": LOGO.content_hash, "format": "png"}


def test_a_secondary_stack_renders_the_secondary_image():
    options = {"mode": "background", "secondary_image": LOGO.hash, "secondary_stack": "mark"}
    found = recipe("thumb", [{"name": "composition", "options": options}], mark=[{"name": "grayscale"}])
    assert [one["name"] for one in steps(found)[0][1]["secondary"]["operations"]] == ["grayscale"]


def test_variables_of_a_secondary_stack_come_from_the_url_then_from_the_operation():
    options = {
        "mode": "background",
        "secondary_image": LOGO.hash,
        "secondary_stack": "mark",
        "secondary_stack_variables": {"w": 11},
    }
    stack = [{"name": "composition", "options": options}]
    mark = {"operations": WIDTH_FROM_VARIABLE, "variables": {"w": 5}}
    widths = [
        steps(recipe(path, stack, mark=mark))[0][1]["secondary"]["operations"][0]["options"]["width"]
        for path in ("thumb", "thumb/v-w-12")
    ]
    assert widths == [11, 12]


def test_compositions_cannot_be_nested_without_end():
    options = {"mode": "background", "secondary_image": LOGO.hash, "secondary_stack": "self"}
    stack = [{"name": "composition", "options": options}]
    with pytest.raises(RenderTooLarge, match="Composition nesting too deep"):
        recipe("thumb", stack, self=stack)


def test_compositions_can_not_multiply_operations():
    def compositions(of, count):
        return [{"name": "composition", "options": {"mode": "background", "secondary_stack": of}}] * count

    stacks = {"single": [{"name": "blur"}], "double": compositions("single", 32)}
    assert len(recipe("thumb", compositions("single", 32), **stacks).body["operations"]) == 32
    with pytest.raises(RenderTooLarge, match="more than 100 operations"):
        recipe("thumb", compositions("double", 32), **stacks)


def test_compositions_can_not_multiply_expressions():
    def body(of, count):
        operations = [{"name": "composition", "options": {"mode": "background", "secondary_stack": of}}] * count
        return {"operations": operations, "variables": {f"v{number}": "image.width" for number in range(20)}}

    stacks = {"single": body("empty", 0)}
    assert recipe("thumb", body("single", 24), **stacks).body["operations"]
    with pytest.raises(RenderTooLarge, match="more than 500 variables and expressions"):
        recipe("thumb", body("single", 25), **stacks)


def test_unknown_secondary_images_and_stacks_are_not_found():
    with pytest.raises(ImageNotFound):
        recipe("dynamic/composition-mode-background-secondary_image-ffffffff")
    with pytest.raises(StackNotFound):
        recipe("dynamic/composition-mode-background-secondary_stack-nothing")


def test_a_font_must_be_a_font():
    with pytest.raises(InvalidOperation, match="font"):
        recipe(f"dynamic/text-text-a-font-{LOGO.hash}")


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_equal_meanings_have_equal_keys():
    keys = {
        recipe("dynamic/resize-width-200").key,
        recipe("dynamic/resize-width-200-mode-box").key,
        recipe("dynamic/noop--resize-width-[100*2]").key,
        recipe("thumb", [RESIZE]).key,
        recipe("other/v-unused-1", [RESIZE]).key,
    }
    assert len(keys) == 1


def test_what_changes_the_result_changes_the_key():
    keys = [
        recipe("dynamic/resize-width-200").key,
        recipe("dynamic/resize-width-201").key,
        recipe("dynamic/resize-width-200.png").key,
        recipe("dynamic/resize-width-200/o-jpg.quality-50").key,
        recipe("dynamic/resize-width-200", source=replace(PHOTO, content_hash="d" * 64)).key,
    ]
    assert len(set(keys)) == len(keys)


def test_options_that_do_not_apply_do_not_change_the_key():
    assert recipe("dynamic/o-png.compression_level-2").key == recipe("dynamic").key


def test_areas_only_change_keys_of_operations_that_use_them():
    marked = replace(PHOTO, areas={"subject_area": {"x": 1, "y": 2, "width": 3, "height": 4}})
    assert recipe("dynamic/resize-width-20", source=marked).key == recipe("dynamic/resize-width-20").key
    assert recipe("dynamic/crop-width-20-height-20", source=marked).key != recipe("dynamic/crop-width-20-height-20").key


def test_a_version_number_and_an_epoch_force_a_fresh_render():
    url = parse(f"/thumb/{HASH}.jpg", "", "acme")
    fresh = parse(f"/thumb/{HASH}/v2.jpg", "", "acme")
    content = parse_content([RESIZE])
    keys = [
        resolve(asked, PHOTO, content, Known({}), Preferences(), epoch=epoch).key
        for asked, epoch in ((url, 0), (fresh, 0), (url, 1))
    ]
    assert len(set(keys)) == 3
