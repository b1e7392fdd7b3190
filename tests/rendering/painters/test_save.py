"""Formats of results: quality, transparency, animation and metadata."""

from io import BytesIO

import numpy
import pytest
import pyvips
from imagecodecs import jpegxl_decode
from PIL import Image, ImageCms

from tests.support import images, paint

pytestmark = pytest.mark.any_database

RASTER = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF", "jp2": "JPEG2000"}


@pytest.fixture
def photo():
    return images.image(24, 16, seed=1).resize((240, 160), Image.Resampling.BICUBIC)


def encoded_with_metadata():
    exif = Image.Exif()
    exif[271] = "Some camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return images.encoded(images.image(40, 30), "JPEG", exif=exif, icc_profile=profile, comment=b"secret")


@pytest.mark.parametrize(("format", "name"), RASTER.items())
def test_formats(rendered, photo, format, name):
    image = rendered(photo, {"resize": {"width": 120}}, to=format)
    assert (image.format, image.size) == (name, (120, 80))


def test_jxl(painter, tmp_path, photo):
    photo.save(tmp_path / "source", "PNG")
    _, content = painter.paint(paint.recipe(tmp_path / "source", "png", to="jxl"))
    assert content.startswith(b"\xff\x0a") or content[4:8] == b"JXL "


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("quality", [90, 100])
def test_jxl_decodes_to_what_was_encoded(painter, tmp_path, mode, quality):
    channels = [Image.linear_gradient("L").rotate(90 * turns) for turns in range(len(mode))]
    Image.merge(mode, channels).save(tmp_path / "source", "PNG")
    recipe = paint.recipe(tmp_path / "source", "png", to="jxl", options={"jxl.quality": quality})
    _, content = painter.paint(recipe)
    found, expected = jpegxl_decode(content), numpy.asarray(Image.merge(mode, channels))
    assert found.shape == expected.shape
    difference = numpy.abs(found.astype(int) - expected)
    assert difference.max() == 0 if quality == 100 else difference.mean() < 2


@pytest.mark.parametrize("format", ["heif", "mp4", "m3u8", "bmp", "xyz"])
def test_formats_that_can_not_be_written(refused, photo, format):
    reason, message = refused(photo, to=format)
    assert reason == "format_unavailable"
    assert format in message


@pytest.mark.parametrize("format", ["jpg", "webp", "avif"])
def test_a_lower_quality_gives_a_smaller_file(painter, tmp_path, photo, format):
    photo.save(tmp_path / "source", "PNG")
    low, high = (
        painter.paint(paint.recipe(tmp_path / "source", "png", to=format, options={f"{format}.quality": quality}))[0]
        for quality in (20, 90)
    )
    assert low["bytes"] < high["bytes"]


def test_webp_of_quality_100_is_lossless(rendered, photo):
    image = rendered(photo, to="webp", options={"webp.quality": 100})
    assert image.convert("RGB").tobytes() == photo.tobytes()


@pytest.mark.parametrize(("mode", "progressive"), [("plane", True), ("none", False)])
def test_interlacing(rendered, photo, mode, progressive):
    image = rendered(photo, to="jpg", options={"interlacing.mode": mode})
    assert bool(image.info.get("progressive")) == progressive


def test_transparent_pixels_get_the_color_of_the_format(rendered):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert rendered(clear, to="jpg").getpixel((8, 8)) == (255, 255, 255)
    red = rendered(clear, to="jpg", options={"jpg.transparency.color": "FF0000"}).getpixel((8, 8))
    assert red == pytest.approx((254, 0, 0), abs=2)
    assert rendered(clear, to="png", options={"transparency.color": "00FF00"}).getpixel((8, 8)) == (0, 255, 0)


@pytest.mark.parametrize("format", ["png", "webp", "gif", "avif"])
def test_transparency_is_kept(rendered, format):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    found = rendered(image, to=format).convert("RGBA")
    assert found.getpixel((10, 10))[3] >= 254
    assert found.getpixel((50, 10))[3] <= 1


def test_an_svg_is_a_jpeg_with_its_transparency_as_a_mask(painter, tmp_path):
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 16, 48))
    image.paste((0, 0, 255, 128), (16, 0, 32, 48))
    image.save(tmp_path / "source", "PNG")
    recipe = paint.recipe(tmp_path / "source", "png", to="jpg")
    recipe["output"]["transparent_format"] = "svg"
    answer, content = painter.paint(recipe)
    assert (answer["format"], answer["width"], answer["height"]) == ("svg", 64, 48)
    drawn = pyvips.Image.svgload_buffer(content)
    assert (drawn.width, drawn.height) == (64, 48)
    assert drawn(8, 24) == pytest.approx([254, 0, 0, 255], abs=3)
    assert drawn(24, 24) == pytest.approx([0, 0, 254, 128], abs=3)
    assert drawn(48, 24)[3] == 0


@pytest.mark.parametrize("format", ["jpg", "png", "webp", "avif"])
def test_metadata_is_left_out(painter, tmp_path, format):
    (tmp_path / "source").write_bytes(encoded_with_metadata())
    _, content = painter.paint(paint.recipe(tmp_path / "source", "jpg", to=format))
    image = Image.open(BytesIO(content))
    assert not image.getexif()
    assert not {"icc_profile", "comment", "xmp"} & image.info.keys()
    assert b"Some camera" not in content


@pytest.mark.parametrize("format", [*RASTER, "jxl", "blur"])
def test_the_same_recipe_gives_the_same_result(painter, tmp_path, photo, format):
    photo.save(tmp_path / "source", "PNG")
    recipe = paint.recipe(tmp_path / "source", "png", {"rotate": {"angle": 20}}, to=format)
    first = painter.paint(recipe)
    painter.paint(paint.recipe(tmp_path / "source", "png", {"resize": {"width": 33}}, to="gif"))
    assert painter.paint(recipe) == first


@pytest.mark.parametrize(("format", "limit"), [("avif", "40"), ("jp2", "20"), ("webp", "60")])
def test_encoders_have_limits_of_their_own(refused, photo, format, limit):
    large = {"resize": {"width": 9900, "height": 9900, "mode": "absolute"}}
    reason, message = refused(photo, large, to=format)
    assert reason == "render_too_large"
    assert f"the limit is {limit}." in message


def test_an_encoder_without_enough_memory_says_so(refused, photo):
    large = {"resize": {"width": 4400, "height": 4400, "mode": "absolute"}}
    reason, message = refused(photo, large, {"alpha": {"mode": "apply"}}, to="jp2")
    assert reason == "render_too_large"
    assert "memory" in message


# --- Animation --------------------------------------------------------------------------------------------------------


def animation(format, *, frames=6, size=(60, 40), mode="RGB"):
    first, *others = [Image.new(mode, size, (20 * number, 255 - 20 * number, 0)) for number in range(frames)]
    delays = [100 + 10 * number for number in range(frames)]
    return images.encoded(first, format, save_all=True, append_images=others, duration=delays, loop=3, lossless=True)


@pytest.mark.parametrize("source", ["GIF", "WEBP"])
@pytest.mark.parametrize("to", ["gif", "webp"])
def test_all_frames_are_rendered(rendered, source, to):
    operations = ({"resize": {"width": 30}}, {"rotate": {"angle": 90}}, {"crop": {"width": 10, "height": 12}})
    image = rendered(animation(source), *operations, format=source.lower(), to=to)
    assert (image.n_frames, image.size) == (6, (10, 12))
    colors, delays = [], []
    for number in range(6):
        image.seek(number)
        image.load()
        colors.append(image.convert("RGB").getpixel((5, 5))[0])
        delays.append(image.info["duration"])
    assert colors == pytest.approx([20 * number for number in range(6)], abs=12)
    assert delays == [100 + 10 * number for number in range(6)]


@pytest.mark.parametrize("to", ["jpg", "png", "avif"])
def test_other_formats_show_the_first_frame(rendered, to):
    image = rendered(animation("GIF"), format="gif", to=to)
    assert getattr(image, "n_frames", 1) == 1
    assert image.convert("RGB").getpixel((5, 5)) == pytest.approx((0, 255, 0), abs=3)


def test_more_frames_than_the_limit_are_refused(refused, rendered):
    source = animation("GIF", frames=12, size=(4, 4))
    limits = {"pixels": 1000, "frames": 10}
    reason, message = refused(source, format="gif", to="gif", limits=limits)
    assert reason == "render_too_large"
    assert "12 frames" in message
    assert "limit is 10" in message
    assert rendered(source, format="gif", to="png", limits=limits).size == (4, 4)


def test_all_frames_together_count_as_pixels(refused):
    limits = {"pixels": 10_000, "frames": 10}
    assert refused(animation("GIF"), format="gif", to="webp", limits=limits)[0] == "render_too_large"
    small = animation("GIF", size=(10, 10))
    reason, _ = refused(small, {"resize": {"width": 50}}, format="gif", to="webp", limits=limits)
    assert reason == "render_too_large"


def test_the_delay_of_an_animation_can_be_set(rendered):
    image = rendered(animation("GIF"), {"addframes": {"delay": 25}}, format="gif", to="gif")
    assert image.info["duration"] == 250


def test_other_frames_can_not_be_added(refused):
    assert refused(animation("GIF"), {"addframes": {"frames": "x"}}, format="gif")[0] == "feature_unavailable"


# --- BlurHash ---------------------------------------------------------------------------------------------------------


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"


def decoded(text, width, height):
    """The red channel of a BlurHash in linear light."""

    def number(start, end):
        return sum(DIGITS.index(digit) * 83 ** (end - start - 1 - place) for place, digit in enumerate(text[start:end]))

    across, down = number(0, 1) % 9 + 1, number(0, 1) // 9 + 1
    assert len(text) == 4 + 2 * across * down
    largest = (number(1, 2) + 1) / 166
    steps = [number(start, start + 2) // 19**2 / 9 - 1 for start in range(6, len(text), 2)]
    factors = [((number(2, 6) >> 16) / 255) ** 2.2, *(step * abs(step) * largest for step in steps)]
    y, x = numpy.mgrid[:height, :width]
    return sum(
        factor
        * numpy.cos(numpy.pi * x * (index % across) / width)
        * numpy.cos(numpy.pi * y * (index // across) / height)
        for index, factor in enumerate(factors)
    )


@pytest.mark.parametrize(("size", "components"), [((320, 200), "L"), ((200, 320), "T")])
def test_a_blurhash_shows_the_image(painter, tmp_path, size, components):
    """White at the bottom right, else black."""
    image = Image.new("RGB", size)
    image.paste("white", (size[0] // 2, size[1] // 2, *size))
    image.save(tmp_path / "source", "PNG")
    answer, content = painter.paint(paint.recipe(tmp_path / "source", "png", to="blur"))
    assert answer["format"] == "blur"
    assert content.decode()[0] == components
    found = decoded(content.decode(), 32, 32)
    assert [found[8, 8], found[8, 24], found[24, 8]] == pytest.approx([0, 0, 0], abs=0.2)
    assert found[24, 24] == pytest.approx(1, abs=0.2)
