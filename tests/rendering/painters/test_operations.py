"""Operations that change pixels, and their options."""

import numpy
import pytest
from PIL import Image

from rendering.catalogue import OPERATIONS as CATALOGUE
from rendering.painters.operations import OPERATIONS
from tests.support import images, paint

pytestmark = pytest.mark.any_database

TEAL = (0, 128, 128)


def pixels(image):
    return numpy.asarray(image.convert("RGBA"), int)


@pytest.fixture
def faint():
    """One color, with every alpha from 0 to 255, in stripes; transparent pixels are red."""
    image = numpy.zeros((64, 256, 4), numpy.uint8)
    image[..., :3] = TEAL
    image[..., 3] = (numpy.arange(256) * 37 % 256)[None, :]
    image[image[..., 3] == 0] = (255, 0, 0, 0)
    return Image.fromarray(image)


def test_every_operation_of_the_catalogue_exists():
    assert set(OPERATIONS) == set(CATALOGUE)


@pytest.mark.parametrize(
    "operation",
    [
        {"resize": {"width": 100}},
        {"resize": {"width": 700}},
        {"rotate": {"angle": 33}},
        {"blur": {"sigma": 3}},
        {"blur": {"sigma": 60}},
        {"noop": {}},
    ],
)
@pytest.mark.parametrize("before", [(), ({"noop": {}}, {"alpha": {"mode": "apply", "opacity": 100}})])
def test_colors_of_transparent_pixels_do_not_bleed(rendered, faint, operation, before):
    found = pixels(rendered(faint, *before, operation))
    visible = found[found[..., 3] > 100]
    assert len(visible)
    assert numpy.abs(visible[:, :3] - TEAL).max() <= 5  # weighted colors have 8 bits


def test_a_large_blur_looks_like_an_exact_one(rendered):
    """Beyond a limit, blurs are done on a reduced image."""
    image = images.image(300, 200, seed=3).resize((1200, 800), Image.Resampling.BICUBIC)
    exact = _gaussian(numpy.asarray(image, float), 40)
    difference = numpy.abs(pixels(rendered(image, {"blur": {"sigma": 40}}))[..., :3] - exact)
    assert difference.mean() <= 1
    assert difference[80:-80, 80:-80].max() <= 5


def _gaussian(values, sigma):
    reach = int(sigma * 4)
    kernel = numpy.exp(-((numpy.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(reach, reach) if axis == number else (0, 0) for number in range(3)]
        padded = numpy.pad(values, width, mode="edge")
        values = numpy.apply_along_axis(lambda row: numpy.convolve(row, kernel, mode="valid"), axis, padded)
    return values


@pytest.mark.parametrize("size", [(8, 6), (2000, 1), (1, 2000)])
@pytest.mark.parametrize("sigma", [0, 0.1, 24, 100])
def test_extreme_sigmas(rendered, size, sigma):
    assert rendered(images.png(*size), {"blur": {"sigma": sigma}}, dpr=10).size == size


def test_grayscale_with_levels(rendered):
    ramp = Image.fromarray(numpy.tile(numpy.arange(256, dtype=numpy.uint8), (4, 1)))
    found = set(rendered(ramp, {"grayscale": {"levels": 4}}).convert("L").get_flattened_data())
    assert found == {0, 85, 170, 255}


def test_modulate_works_on_gray_images(rendered):
    gray = Image.new("L", (10, 10), 100)
    assert rendered(gray, {"modulate": {"brightness": 200}}).convert("L").getpixel((5, 5)) > 180


def test_multiply_by_a_color(rendered):
    image = rendered(Image.new("RGB", (4, 4), (200, 100, 50)), {"multiply": {"factor_color": "FF8000"}})
    assert image.convert("RGB").getpixel((0, 0)) == pytest.approx((200, 50, 0), abs=1)


@pytest.mark.parametrize(
    ("radius", "visible"),
    [(None, False), (0, True), (2, False), ("50p", False), ("50%", False), ("0p", True), ("1p", False)],
)
def test_the_radius_of_a_circlemask(rendered, radius, visible):
    image = Image.new("RGB", (100, 60), "red")
    options = {} if radius is None else {"radius": radius}
    found = pixels(rendered(image, {"circlemask": options}))
    assert (found[0, 0, 3] == 255) == visible
    assert tuple(found[30, 50]) == (255, 0, 0, 255)


def test_a_radius_rounds_only_the_corners(rendered):
    found = pixels(rendered(Image.new("RGB", (100, 60), "red"), {"circlemask": {"radius": "20p"}}))
    assert found[0, 0, 3] == 0
    assert found[0, 50, 3] == found[30, 0, 3] == 255


def test_a_shadow_extends_the_canvas_where_it_falls(rendered):
    image = rendered(Image.new("RGB", (50, 40), "red"), {"dropshadow": {"horizontal": 10, "vertical": -4, "sigma": 1}})
    assert image.size == (50 + 13, 40 + 7)
    found = pixels(image)
    assert tuple(found[20, 5]) == (255, 0, 0, 255)
    assert tuple(found[20, 55][:3]) == (0, 0, 0)
    assert found[20, 55, 3] > 200


def test_a_glitch_keeps_the_size_and_depends_on_its_seed_only(rendered):
    image = images.image(120, 80, seed=5)
    first, again, other = (rendered(image, {"glitch": {"random": seed}}) for seed in ("a", "a", "b"))
    assert first.size == (120, 80)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.tobytes() != image.tobytes()


def test_a_glitch_of_nothing_changes_nothing(rendered):
    image = images.image(120, 80, seed=5)
    assert rendered(image, {"glitch": {"amount": 0}}).tobytes() == image.tobytes()


# --- Composition ------------------------------------------------------------------------------------------------------


def secondary(tmp_path, image, *operations):
    path = tmp_path / "secondary"
    image.save(path, "PNG")
    nested = paint.recipe(path, "png", *operations)
    return {key: nested[key] for key in ("source", "operations", "areas")}


def test_another_image_over_the_initial_one(rendered, tmp_path):
    other = secondary(tmp_path, Image.new("RGB", (20, 10), "red"))
    composition = {"mode": "background", "secondary": other, "anchor": "right_bottom"}
    found = pixels(rendered(Image.new("RGB", (60, 40), "blue"), {"composition": composition}))
    assert found.shape[:2] == (40, 60)
    assert tuple(found[39, 59]) == (255, 0, 0, 255)
    assert tuple(found[29, 59]) == tuple(found[39, 39]) == (0, 0, 255, 255)


@pytest.mark.parametrize(
    ("anchor", "box"),
    [
        ("20_25", (20, 25, 40, 35)),
        ("left_25", (0, 25, 20, 35)),
        ("50_35", (50, 35, 60, 40)),
        ("60_40", None),
        ("10000_10000", None),
    ],
)
def test_an_anchor_in_pixels_moves_only_the_smaller_image(rendered, tmp_path, anchor, box):
    other = secondary(tmp_path, Image.new("RGB", (20, 10), "red"))
    composition = {"mode": "background", "secondary": other, "anchor": anchor}
    image = rendered(Image.new("RGB", (60, 40), "blue"), {"composition": composition}).convert("RGBA")
    assert image.getchannel("R").getbbox() == box
    assert image.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize(("anchor", "box"), [("20_25", (20, 25, 80, 65)), ("90_90", (40, 60, 100, 100))])
def test_an_anchor_in_pixels_does_not_cut_off_the_initial_image(rendered, anchor, box):
    composition = {"mode": "foreground", "width": 100, "height": 100, "secondary_color": "FF0000", "anchor": anchor}
    image = rendered(Image.new("RGB", (60, 40), "blue"), {"composition": composition}).convert("RGBA")
    assert image.getchannel("B").getbbox() == box
    assert image.getchannel("A").getextrema() == (255, 255)


def test_operations_of_the_other_image_are_applied(rendered, tmp_path):
    other = secondary(tmp_path, Image.new("RGB", (20, 10), "red"), {"rotate": {"angle": 90}}, {"resize": {"width": 80}})
    image = rendered(Image.new("RGB", (60, 40), "blue"), {"composition": {"mode": "background", "secondary": other}})
    assert image.size == (80, 160)


def test_the_other_image_can_be_resized_to_the_initial_one(rendered, tmp_path):
    other = secondary(tmp_path, Image.new("RGB", (20, 10), "red"))
    composition = {"secondary": other, "resize_to_primary": True, "resize_mode": "fill", "mode": "foreground"}
    assert rendered(Image.new("RGB", (60, 40), "blue"), {"composition": composition}).size == (80, 40)


def test_nesting_deeper_than_five_is_refused(refused, rendered, tmp_path):
    innermost = secondary(tmp_path, Image.new("RGB", (20, 10), "red"))

    def nested(depth):
        recipe = innermost
        for _ in range(depth - 1):
            composition = {"name": "composition", "options": {"mode": "background", "secondary": recipe}}
            recipe = innermost | {"operations": [composition]}
        return {"composition": {"mode": "background", "secondary": recipe}}

    image = Image.new("RGB", (60, 40), "blue")
    assert rendered(image, nested(5)).size == (60, 40)
    assert refused(image, nested(6)) == ("invalid_operation", "Composition nesting too deep: the limit is 5.")


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["primitive", "face"])
def test_operations_that_are_not_available(refused, name):
    reason, message = refused(images.png(), {name: {}})
    assert reason == "feature_unavailable"
    assert name in message


@pytest.mark.parametrize(
    ("operation", "limit"),
    [
        ({"resize": {"width": 10000, "height": 10001, "mode": "absolute"}}, "100"),
        ({"dropshadow": {"sigma": 10000}}, "100"),
        ({"composition": {"mode": "foreground", "width": 10000, "height": 10001}}, "100"),
    ],
)
def test_results_that_are_too_large(refused, operation, limit):
    reason, message = refused(images.png(), {"noop": {}}, operation)
    assert reason == "render_too_large"
    assert f"limit is {limit}." in message


def test_the_largest_blur_of_the_largest_image_is_refused(refused):
    large = {"resize": {"width": 10000, "height": 9000, "mode": "absolute"}}
    reason, message = refused(images.png(), large, {"blur": {"sigma": 100}})
    assert reason == "render_too_large"
    assert "sigma" in message
