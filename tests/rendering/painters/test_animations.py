"""Animations keep their frames, and transparent pixels if there are any."""

from io import BytesIO

import pytest
from PIL import Image

pytestmark = pytest.mark.any_database
HALF = {"resize": {"width": 10}}


def animation(*frames: Image.Image) -> bytes:
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50, disposal=2)
    return file.getvalue()


def half_transparent(color: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((*color, 255), (0, 0, 20, 10))
    return image


def test_resized_animations_keep_transparent_pixels(rendered):
    source = animation(half_transparent((255, 0, 0)), half_transparent((0, 0, 255)))
    result = rendered(source, HALF, format="gif", to="webp")
    assert result.n_frames == 2
    result.seek(1)
    assert result.convert("RGBA").getpixel((5, 8))[3] == 0
    assert result.convert("RGBA").getpixel((5, 2))[3] > 250


def test_resized_opaque_animations_keep_the_colors_of_each_frame(rendered):
    source = animation(Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue"))
    result = rendered(source, HALF, format="gif", to="webp")
    for number, color in enumerate([(255, 0, 0), (0, 0, 255)]):
        result.seek(number)
        assert result.convert("RGB").getpixel((5, 5)) == pytest.approx(color, abs=2)
