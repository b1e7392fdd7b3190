"""Target sizes of resizes, and the largest area of an aspect ratio."""

import pytest

from rendering.painters.problems import InvalidOperation
from rendering.painters.sizes import Size, largest_of_ratio, resized, rounded

pytestmark = pytest.mark.any_database

SQUARE = Size(300, 300)
PHOTO = Size(400, 300)


@pytest.mark.parametrize(
    ("upscale", "upscale_dpr", "widths"),
    [
        (True, True, (200, 400, 400, 800)),
        (False, True, (200, 400, 300, 600)),
        (False, False, (200, 300, 300, 300)),
        (True, False, (200, 300, 400, 400)),
    ],
)
def test_upscaling(upscale, upscale_dpr, widths):
    found = [
        resized(SQUARE, width, None, upscale=upscale, upscale_dpr=upscale_dpr, dpr=dpr).size
        for width in (200, 400)
        for dpr in (1, 2)
    ]
    assert found == [Size(width, width) for width in widths]


@pytest.mark.parametrize(
    ("mode", "width", "height", "size"),
    [
        ("box", 80, None, (80, 60)),
        ("box", None, 75, (100, 75)),
        ("box", 90, 40, (53, 40)),
        ("fill", 90, 40, (90, 68)),
        ("absolute", 90, 40, (90, 40)),
        ("absolute", 90, None, (90, 68)),
        ("box", 37, 10000, (37, 28)),
        ("box", 1, None, (1, 1)),
    ],
)
def test_modes(mode, width, height, size):
    assert resized(PHOTO, width, height, mode=mode).size == size


def test_no_side_is_smaller_than_a_pixel():
    assert resized(Size(3000, 2), 30, None).size == (30, 1)


def test_a_size_that_can_not_be_reached_keeps_its_aspect_ratio():
    assert resized(SQUARE, 600, 100, mode="absolute", upscale=False) == ((300, 50), 0.5)


def test_the_shortfall_counts_what_dpr_asked_for():
    assert resized(SQUARE, 200, None, upscale=False, upscale_dpr=False, dpr=2).shortfall == 0.75
    assert resized(SQUARE, 200, None, dpr=2).shortfall == 1


def test_fractional_dpr():
    assert resized(SQUARE, 50, None, dpr=1.5).size == (75, 75)


def test_a_resize_without_a_size_is_refused():
    with pytest.raises(InvalidOperation):
        resized(SQUARE, None, None)


@pytest.mark.parametrize(
    ("ratio", "size"), [((1, 1), (300, 300)), ((16, 9), (400, 225)), ((9, 16), (169, 300)), ((10000, 1), (400, 1))]
)
def test_the_largest_area_of_an_aspect_ratio(ratio, size):
    assert largest_of_ratio(PHOTO, *ratio) == size


def test_halves_are_rounded_up():
    assert [rounded(value) for value in (0.2, 1.5, 2.5, 67.5)] == [1, 2, 3, 68]
