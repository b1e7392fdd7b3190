"""Text over images: nothing but letters, in the given font."""

from pathlib import Path

import numpy
import pytest
from PIL import Image, ImageFont

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="session")
def font(tmp_path_factory):
    """A font file of Pillow, with Latin letters."""
    path = tmp_path_factory.mktemp("fonts") / "font"
    path.write_bytes(ImageFont.load_default(10).path.getvalue())
    return {"path": str(path), "format": "ttf"}


@pytest.fixture
def written(rendered, font):
    """The coverage of each pixel of a white image after black text is drawn over it."""

    def write(text, *, canvas=(400, 200), dpr=1, **options):
        image = rendered(Image.new("RGB", canvas, "white"), {"text": {"font": font, "text": text, **options}}, dpr=dpr)
        assert image.size == canvas
        return 255 - numpy.asarray(image.convert("L"), int)

    return write


def extent(coverage):
    """Left, top, right and bottom of what is written."""
    rows, columns = numpy.nonzero(coverage > 40)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_text_is_drawn_in_the_center(written):
    left, top, right, bottom = extent(written("HH", canvas=(400, 200)))
    assert (left + right) / 2 == pytest.approx(200, abs=3)
    assert (top + bottom) / 2 == pytest.approx(100, abs=5)


def test_the_anchor_says_where(written):
    left, top, _, _ = extent(written("H", anchor="left_top"))
    assert (left, top) < (10, 10)
    _, _, right, bottom = extent(written("H", anchor="right_bottom"))
    assert right > 390
    assert bottom > 185


def test_size_and_dpr_multiply(written):
    drawn = [written("H", **options) for options in ({"size": 16}, {"size": 32}, {"size": 16, "dpr": 2})]
    small, large, dense = map(extent, drawn)
    assert large[3] - large[1] == pytest.approx(2 * (small[3] - small[1]), abs=2)
    assert dense == large


def test_color_and_opacity(rendered, font):
    text = {"font": font, "text": "H", "size": 150, "color": "FF0000", "opacity": 50}
    image = rendered(Image.new("RGB", (200, 200), "white"), {"text": text}).convert("RGB")
    colors = {color for _, color in image.getcolors()}
    assert any(color == pytest.approx((255, 127, 127), abs=2) for color in colors)
    assert all(red == 255 for red, _, _ in colors)


@pytest.mark.parametrize("text", ["<b>x</b>", "&amp;", "a & b < c", "<span font='60'>x</span>", "%s {0} \\x"])
def test_markup_is_only_text(written, text):
    """Wider than without it: all characters are drawn."""
    plain = "".join(character for character in text if character.isalnum())[:1]
    wide, narrow = extent(written(text)), extent(written(plain))
    assert wide[2] - wide[0] > 2 * (narrow[2] - narrow[0])
    assert wide[3] - wide[1] < 30


def test_long_text_is_wrapped_at_the_width(written):
    left, _, right, _ = extent(written("one two three four five six", width=80))
    assert right - left <= 80
    one, two = extent(written("one", width=80)), extent(written("one two three four", width=80))
    assert two[3] - two[1] > 2 * (one[3] - one[1])


def test_text_fills_its_box(written):
    left, top, right, bottom = extent(written("Hg", width=300, height=120, resize_to_box=True))
    assert right - left <= 300
    assert bottom - top <= 120
    assert bottom - top > 70


def test_alignment(written):
    lines = "wwwwwwww\ni"
    left, right = (written(lines, align=align)[105:] for align in ("left", "right"))
    assert extent(left)[0] + 40 < extent(right)[0]


def test_an_angle_turns_the_text(written):
    flat, turned = extent(written("HHHHHH")), extent(written("HHHHHH", angle=90))
    assert flat[2] - flat[0] == pytest.approx(turned[3] - turned[1], abs=2)


def test_text_does_not_leave_the_image(written):
    assert written("W" * 2000, canvas=(50, 50), anchor="left_top").shape == (50, 50)


def test_fonts_of_the_same_name_are_not_mixed_up(rendered, font, tmp_path):
    """A second file of the same family, whose letters are damaged, does not get those of the first."""
    text = {"font": font, "text": "H", "size": 80}
    white = Image.new("RGB", (100, 100), "white")
    first = rendered(white, {"text": text})
    content = bytearray(Path(font["path"]).read_bytes())
    tables = {bytes(content[at : at + 4]): at for at in range(12, 12 + 16 * content[5], 16)}
    head = int.from_bytes(content[tables[b"head"] + 8 :][:4])
    content[head + 18 : head + 20] = (int.from_bytes(content[head + 18 : head + 20]) * 2).to_bytes(2)  # units per em
    (tmp_path / "other").write_bytes(content)
    other = rendered(white, {"text": text | {"font": {"path": str(tmp_path / "other"), "format": "ttf"}}})
    assert other.tobytes() != first.tobytes()


@pytest.mark.parametrize("content", [b"", b"no font", b"\0\1\0\0" + bytes(400)])
def test_a_file_that_is_not_a_font(refused, tmp_path, content):
    (tmp_path / "font").write_bytes(content)
    text = {"font": {"path": str(tmp_path / "font"), "format": "ttf"}, "text": "x"}
    assert refused(Image.new("RGB", (9, 9)), {"text": text})[0] == "unreadable_source"


def test_an_image_is_not_a_font(refused, font):
    text = {"font": font | {"format": "png"}, "text": "x"}
    assert refused(Image.new("RGB", (9, 9)), {"text": text})[0] == "invalid_operation"
