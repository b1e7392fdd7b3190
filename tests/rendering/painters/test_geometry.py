"""Crops, areas of metadata, rotation and trimming, on an image whose every pixel says where it was."""

from io import BytesIO

import numpy
import pytest
from PIL import Image

pytestmark = pytest.mark.any_database

WIDTH, HEIGHT = 240, 160
SUBJECT = {"x": 160, "y": 20, "width": 40, "height": 20}  # center 180, 30


@pytest.fixture
def grid():
    """Red is x, green is y."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
    pixels[..., 0] = numpy.arange(WIDTH)
    pixels[..., 1] = numpy.arange(HEIGHT)[:, None]
    pixels[..., 2] = 100
    return Image.fromarray(pixels)


def corner(image):
    return image.convert("RGB").getpixel((0, 0))[:2]


def center(image):
    return image.convert("RGB").getpixel((image.width // 2, image.height // 2))[:2]


def crop(width, height, **options):
    return {"crop": {"width": width, "height": height, **options}}


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("left_top", (0, 0)),
        ("right_bottom", (140, 100)),
        ("center_center", (70, 50)),
        ("10_20", (10, 20)),
        ("10-20", (10, 20)),
        ("center_5", (70, 5)),
        ("9999_9999", (140, 100)),
        ("face", (70, 50)),
        ("subjectarea", (70, 50)),
    ],
)
def test_anchors(rendered, grid, anchor, expected):
    assert corner(rendered(grid, crop(100, 60, anchor=anchor))) == expected


def test_without_an_area_the_fallback_counts(rendered, grid):
    assert corner(rendered(grid, crop(100, 60, fallback="right_top"))) == (140, 0)


def test_a_crop_is_centered_on_the_subject_area_within_the_image(rendered, grid):
    areas = {"subject_area": SUBJECT}
    assert corner(rendered(grid, crop(100, 40), areas=areas)) == (130, 10)
    assert corner(rendered(grid, crop(200, 100), areas=areas)) == (40, 0)


def test_areas_follow_a_resize(rendered, grid):
    image = rendered(grid, {"resize": {"width": 120}}, crop(20, 10), areas={"subject_area": SUBJECT})
    assert center(image) == pytest.approx((180, 30), abs=3)


def test_areas_follow_crops_and_rotations(rendered, grid):
    operations = (crop(200, 120, anchor="30_10"), {"rotate": {"angle": 90}}, {"resize": {"width": 240}})
    image = rendered(grid, *operations, crop(20, 20), areas={"subject_area": SUBJECT})
    assert center(image) == pytest.approx((180, 30), abs=3)


def test_areas_follow_a_rotation_by_any_angle(rendered, grid):
    image = rendered(grid, {"rotate": {"angle": 30}}, crop(11, 11), areas={"subject_area": SUBJECT})
    assert center(image) == pytest.approx((180, 30), abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_areas_follow_the_orientation(rendered, grid, orientation):
    """They are in stored coordinates."""
    exif = Image.Exif()
    exif[274] = orientation
    file = BytesIO()
    grid.save(file, "PNG", exif=exif)
    image = rendered(file.getvalue(), crop(11, 11), areas={"subject_area": SUBJECT})
    assert center(image) == pytest.approx((180, 30), abs=1)
    turned = rendered(file.getvalue())
    assert turned.size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))


def test_a_box_crop_keeps_exactly_the_area(rendered, grid):
    image = rendered(grid, crop(1, 1, mode="box"), areas={"crop_area": {"x": 20, "y": 30, "width": 50, "height": 40}})
    assert (image.size, corner(image)) == ((50, 40), (20, 30))


def test_a_named_area(rendered, grid):
    areas = {"subject_area": SUBJECT, "multi_areas": {"face": {"x": 5, "y": 6, "width": 7, "height": 8}}}
    image = rendered(grid, crop(1, 1, mode="box", area="face"), areas=areas)
    assert (image.size, corner(image)) == ((7, 8), (5, 6))


def test_an_area_is_extended_to_the_aspect_ratio(rendered, grid):
    image = rendered(grid, crop(1, 1, mode="area"), areas={"subject_area": SUBJECT})
    assert (image.size, corner(image)) == ((40, 40), (160, 10))


def test_an_area_can_be_moved(rendered, grid):
    image = rendered(grid, crop(1, 1, mode="box", movearea_x=50, movearea_y=-100), areas={"subject_area": SUBJECT})
    assert corner(image) == (180, 0)


def test_an_area_outside_the_image_leaves_a_pixel(rendered, grid):
    outside = {"x": 5000, "y": -90, "width": 10, "height": 10}
    assert rendered(grid, crop(1, 1, mode="box"), areas={"subject_area": outside}).size == (1, 1)


def test_a_crop_after_a_resize_that_could_not_upscale_shrinks_with_it(rendered, grid):
    resize = {"resize": {"width": 480, "upscale": False}}
    assert rendered(grid, resize, crop(480, 240)).size == (240, 120)
    assert rendered(grid, {"resize": {"width": 480}}, crop(480, 240)).size == (480, 240)


def test_operations_run_in_the_order_given(rendered, grid):
    resize = {"resize": {"width": 120, "height": 120, "mode": "absolute"}}
    assert rendered(grid, crop(40, 40, anchor="0_0"), resize).size == (120, 120)
    assert rendered(grid, resize, crop(40, 40, anchor="0_0")).size == (40, 40)
    assert rendered(grid, {"rotate": {"angle": 90}}, {"resize": {"width": 80}}).size == (80, 120)
    assert rendered(grid, {"resize": {"width": 80}}, {"rotate": {"angle": 90}}).size == (53, 80)


@pytest.mark.parametrize(
    "before",
    [
        (),
        ({"rotate": {"angle": 90}},),
        ({"autorotate": {"width": 1, "height": 2, "rotation_direction": "counterclockwise"}},),
        ({"multiply": {"factor": 0.5}}, {"rotate": {"angle": 180}}),
        ({"autorotate": {"width": 1, "height": 2}}, {"rotate": {"angle": 270}}),
    ],
)
def test_a_resize_at_the_start_gives_what_a_later_one_does(rendered, grid, before):
    """Resizes at the start are done while decoding; `crop` keeps everything, but prevents that."""
    resize, whole = {"resize": {"width": 60, "height": 30, "mode": "absolute"}}, crop(9999, 9999)
    areas = {"subject_area": SUBJECT}
    for after in ((), (crop(5, 5),)):
        first = numpy.asarray(rendered(grid, *before, resize, *after, areas=areas).convert("RGB"), int)
        later = numpy.asarray(rendered(grid, *before, whole, resize, *after, areas=areas).convert("RGB"), int)
        assert first.shape == later.shape
        assert numpy.abs(first - later).max() <= 1


def test_a_turned_square_gets_the_size_asked_for(rendered):
    """Its sides don't reveal that it is turned."""
    square = Image.new("RGB", (50, 50), "red")
    resize = {"resize": {"width": 60, "height": 30, "mode": "absolute"}}
    assert rendered(square, {"rotate": {"angle": 90}}, resize).size == (60, 30)
    assert rendered(square, {"rotate": {"angle": 90}}, {"rotate": {"angle": 270}}, resize).size == (60, 30)


def test_dpr_multiplies_pixel_sizes(rendered, grid):
    assert rendered(grid, {"resize": {"width": 60}}, crop(30, 20, anchor="10_5"), dpr=2).size == (60, 40)


@pytest.mark.parametrize(("angle", "expected"), [(90, (0, 159)), (180, (239, 159)), (270, (239, 0)), (-90, (239, 0))])
def test_right_angles_are_exact(rendered, grid, angle, expected):
    assert corner(rendered(grid, {"rotate": {"angle": angle}})) == expected


def test_trim_removes_borders_of_one_color(rendered):
    image = Image.new("RGB", (100, 80), "white")
    image.paste("navy", (20, 10, 60, 50))
    assert rendered(image, {"trim": {}}).size == (40, 40)


def test_trim_of_a_single_color_changes_nothing(rendered):
    assert rendered(Image.new("RGB", (30, 20), "white"), {"trim": {}}).size == (30, 20)


def test_smart_finds_what_stands_out(rendered):
    image = Image.new("RGB", (400, 100), "#777777")
    image.paste("red", (330, 30, 370, 70))
    found = rendered(image, crop(100, 100, anchor="smart")).convert("RGB")
    assert (255, 0, 0) in found.get_flattened_data()
