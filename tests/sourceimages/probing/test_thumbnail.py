"""Pictures made small by a limited process: the right pixels, and nothing of any other file."""

import os
import signal
import struct
import time
from io import BytesIO

import pillow_heif
import pillow_jxl  # noqa: F401 (registers itself)
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageOps, ImageStat

from rokka.core.errors import Unavailable
from sourceimages import probing, thumbnails
from sourceimages.errors import ReadingInterrupted
from sourceimages.probing import render_thumbnail
from sourceimages.probing.pool import PoolExhaustedError, WorkerKilledError
from tests.sourceimages.probing.test_corpus import CORPUS, manifest
from tests.support import images

pytestmark = pytest.mark.any_database

SIDE = 200
WITHOUT = {  # in the corpus: what no library that we have can read
    "heic/mini.heif",
    "psd/cmyk16.psd",
    "psd/large-document.psb",
    "pdf/encrypted-user-password.pdf",
    "svg/not-utf8.svg",
}
SUFFIXES = {"tiff": "tif", "svgz": "svg", "jpeg": "jpg"}
BY_LIBVIPS = {"jpg", "png", "webp", "gif", "tif", "avif"}
SECONDS = 45  # for one question and its repetition, on a machine that has much to do
TURNED = {"heic", "avif", "jxl", "pdf"}  # by the format itself

pillow_heif.register_heif_opener()


def drawn(tmp_path, content, format, *, side=SIDE, upright=True):
    """The thumbnail of this content; None if there is none."""
    path = tmp_path / f"original.{format}"
    path.write_bytes(content)
    made = render_thumbnail(path, format, side=side, upright=upright)
    return None if made is None else opened(made)


def opened(made):
    image = Image.open(BytesIO(made))
    assert image.format == "WEBP"
    image.load()
    return image


def mean(image):
    """Red, green and blue on average, on grey."""
    rgba = image.convert("RGBA")
    below = Image.new("RGBA", rgba.size, "grey")
    return ImageStat.Stat(Image.alpha_composite(below, rgba).convert("RGB")).mean


def wanted(item):
    return item["expected"]["format"] in thumbnails.SUPPORTED_FORMATS


# --- Real files, and those that attack --------------------------------------------------------------------------------


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("item", manifest("images/images.json", "files", wanted))
def test_real_files(item, upright):
    expected = item["expected"]
    made = render_thumbnail(CORPUS / "images" / item["path"], expected["format"], side=SIDE, upright=upright)
    if item["path"] in WITHOUT:
        assert made is None
        return
    image = opened(made)
    prefix = "display_" if upright or expected["format"] in TURNED else ""
    width, height = expected[f"{prefix}width"], expected[f"{prefix}height"]
    assert max(image.size) <= SIDE
    if width is None:  # an SVG without a size is as large as what it shows
        return
    scale = min(1, SIDE / max(width, height))
    assert image.size == pytest.approx((width * scale, height * scale), abs=1.01)
    assert not {"exif", "xmp", "icc_profile"} & image.info.keys()


def is_plain(item):
    """Whether Pillow alone shows it in the right colors; what AVIF crops it does not crop."""
    if item["path"] == "avif/clap-crop.avif" or item["expected"]["format"] not in BY_LIBVIPS:
        return False
    try:
        with Image.open(CORPUS / "images" / item["path"]) as image:
            image.load()
            return image.mode in ("RGB", "RGBA", "L", "LA", "P", "1") and "icc_profile" not in image.info
    except (OSError, ValueError, SyntaxError):
        return False


@pytest.mark.parametrize("item", manifest("images/images.json", "files", is_plain))
def test_colors_of_real_files(item):
    path = CORPUS / "images" / item["path"]
    made = opened(render_thumbnail(path, item["expected"]["format"], side=SIDE, upright=True))
    with Image.open(path) as original:
        assert mean(made) == pytest.approx(mean(original), abs=5)


def is_a_file(case):
    return case["file"] and case.get("kind") not in ("raw_request", "filename")


@pytest.mark.parametrize("case", manifest("hostile/hostile.json", "cases", is_a_file))
def test_hostile_files(case, tmp_path):
    path = CORPUS / "hostile" / case["file"]
    suffix = path.suffix.removeprefix(".")
    for format in {case.get("format"), SUFFIXES.get(suffix, suffix), "png", "tif"} & thumbnails.SUPPORTED_FORMATS:
        started = time.monotonic()
        made = render_thumbnail(path, format, side=SIDE, upright=True)
        assert time.monotonic() - started < SECONDS
        assert made is None or max(opened(made).size) <= SIDE
    assert drawn(tmp_path, images.png(), "png").size == (8, 6)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\xff" * 5000])
@pytest.mark.parametrize("format", sorted(thumbnails.SUPPORTED_FORMATS))
def test_nonsense_is_left(tmp_path, format, content):
    assert drawn(tmp_path, content, format) is None
    assert drawn(tmp_path, images.png(), "png")


@pytest.mark.parametrize("format", ["eps", "docx", "mp4", "otf", "zip", "txt"])
def test_other_formats_are_left(tmp_path, format):
    assert drawn(tmp_path, images.png(), format) is None


# --- No other file ----------------------------------------------------------------------------------------------------


def drawing_that_refers(tmp_path, reference):
    """Blue, covered by a red image from another file if references are followed."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (100, 100), "red").save(secret)
    href = reference.format(path=secret, folder=tmp_path.name)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="100" height="100">'
        f'<rect width="100" height="100" fill="blue"/><image xlink:href="{href}" width="100" height="100"/>'
        f'<image href="{href}" width="100" height="100"/></svg>'
    )


@pytest.mark.parametrize(
    "reference", ["file://{path}", "{path}", "secret.png", "./secret.png", "../{folder}/secret.png"]
)
def test_a_drawing_shows_no_other_file(tmp_path, reference):
    image = drawn(tmp_path, drawing_that_refers(tmp_path, reference).encode(), "svg")
    assert mean(image) == pytest.approx((0, 0, 255), abs=5)


def test_a_drawing_includes_no_other_file(tmp_path):
    (tmp_path / "secret.txt").write_text("MMMMMMMM")
    head = f'<!DOCTYPE svg [<!ENTITY secret SYSTEM "file://{tmp_path}/secret.txt">]>'

    def with_text(text):
        return (
            f'{head}<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">'
            f'<text x="0" y="50" font-size="30">{text}</text></svg>'
        ).encode()

    image, empty = drawn(tmp_path, with_text("&secret;"), "svg"), drawn(tmp_path, with_text(""), "svg")
    assert image is None or image.tobytes() == empty.tobytes()


def test_the_reference_would_show_where_it_is_followed(tmp_path):
    """So that the test above tests something: opened by its name, a drawing finds its neighbours."""
    pyvips = pytest.importorskip("pyvips")
    path = tmp_path / "drawing.svg"
    path.write_text(drawing_that_refers(tmp_path, "secret.png"))
    assert pyvips.Image.svgload(str(path))[0].avg() > 250


@pytest.mark.parametrize("format", sorted(thumbnails.SUPPORTED_FORMATS - {"svg"}))
def test_a_drawing_under_another_name_is_left(tmp_path, format):
    assert drawn(tmp_path, drawing_that_refers(tmp_path, "secret.png").encode(), format) is None


def test_what_is_none_of_our_formats_is_left_under_any_name(tmp_path):
    """Pillow knows many, and starts a program for some."""
    content = images.encoded(Image.new("RGB", (20, 20), "red"), "BMP")
    assert [format for format in sorted(thumbnails.SUPPORTED_FORMATS) if drawn(tmp_path, content, format)] == []


# --- The right pixels -------------------------------------------------------------------------------------------------


def lopsided(mode="RGB"):
    """Twice as wide as high, red on the left and blue on the right."""
    picture = Image.new("RGB", (40, 20), "blue")
    ImageDraw.Draw(picture).rectangle((0, 0, 19, 19), fill="red")
    return picture.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "name"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF")])
def test_it_is_turned_as_it_says_or_as_it_is_stored(tmp_path, format, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = lopsided()
    content = images.encoded(picture, name, exif=exif)
    tagged = Image.open(BytesIO(images.encoded(picture, "PNG", exif=exif)))
    upright, stored = (drawn(tmp_path, content, format, upright=upright) for upright in (True, False))
    for made, right in (upright, ImageOps.exif_transpose(tagged)), (stored, picture):
        assert made.size == right.size
        for spot in (4, 4), (right.width - 5, right.height - 5):
            assert made.convert("RGB").getpixel(spot) == pytest.approx(right.convert("RGB").getpixel(spot), abs=40)
        assert not made.getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_only_pillow_reads_is_turned_likewise(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = lopsided()
    strips = images.encoded(picture, "TIFF", exif=exif)
    content = in_separate_tiles(strips)
    tagged = Image.open(BytesIO(images.encoded(picture, "PNG", exif=exif)))
    for upright, right in (True, ImageOps.exif_transpose(tagged)), (False, picture):
        made = drawn(tmp_path, content, "tif", upright=upright)
        assert made.size == right.size
        for spot in (4, 4), (right.width - 5, right.height - 5):
            assert made.convert("RGB").getpixel(spot) == pytest.approx(right.convert("RGB").getpixel(spot), abs=40)


def test_jpeg_xl_is_not_turned_by_exif(tmp_path):
    """Its pixels come turned by its own header; EXIF beside them says nothing more."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = images.encoded(lopsided(), "JXL", exif=exif.tobytes(), lossless=True)
    for upright in True, False:
        assert drawn(tmp_path, content, "jxl", upright=upright).size == (40, 20)


@pytest.mark.parametrize(
    ("format", "name"),
    [("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"), ("tif", "TIFF"), ("avif", "AVIF"), ("heic", "HEIF")],
)
def test_transparency_is_kept(tmp_path, format, name):
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((0, 0, 31, 63), fill=(255, 0, 0, 255))
    image = drawn(tmp_path, images.encoded(picture, name), format)
    assert image.mode == "RGBA"
    assert image.getpixel((50, 30))[3] < 10
    assert image.getpixel((10, 30)) == pytest.approx((255, 0, 0, 255), abs=10)


@pytest.mark.parametrize(("format", "name"), [("jpg", "JPEG"), ("tif", "TIFF")])
def test_inks_become_colors(tmp_path, format, name):
    picture = Image.new("CMYK", (40, 20), (255, 0, 0, 0))
    red, green, blue = mean(drawn(tmp_path, images.encoded(picture, name), format))
    assert red < 60
    assert green > 130
    assert blue > 180


@pytest.mark.parametrize(("format", "name"), [("jpg", "JPEG"), ("png", "PNG"), ("heic", "HEIF")])
def test_an_embedded_profile_is_used(tmp_path, format, name):
    """One that swaps red and blue shows itself."""
    swapped = swapped_profile()
    picture = Image.new("RGB", (40, 20), (250, 20, 20))
    red, _, blue = mean(drawn(tmp_path, images.encoded(picture, name, icc_profile=swapped), format))
    assert blue > 180 > 120 > red
    red, _, blue = mean(drawn(tmp_path, images.encoded(picture, name, icc_profile=b"no profile"), format))
    assert red > 180 > 120 > blue


def swapped_profile():
    """That of sRGB, the primaries of red and blue in each other's place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def in_separate_tiles(content):
    """The same TIFF with a tile for each of its colors, which libvips does not read."""
    with Image.open(BytesIO(content)) as image:
        orientation = image.tag_v2.get(0x0112, 1)
    planes = [plane.tobytes() for plane in padded(lopsided()).split()]
    entries = [
        (256, 4, 1, 40), (257, 4, 1, 20), (258, 3, 3, None), (259, 3, 1, 1), (262, 3, 1, 2), (274, 3, 1, orientation),
        (277, 3, 1, 3), (284, 3, 1, 2), (322, 4, 1, 48), (323, 4, 1, 32), (324, 4, 3, None), (325, 4, 3, None),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(entries) + 4
    bits, offsets, counts = after, after + 6, after + 18
    start, size = after + 30, 48 * 32
    places = {258: bits, 324: offsets, 325: counts}
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, places[tag] if value is None else value)
    rest = struct.pack("<3H3I3I", 8, 8, 8, *(start + size * number for number in range(3)), size, size, size)
    return b"II*\0" + struct.pack("<I", 8) + directory + b"\0" * 4 + rest + b"".join(planes)


def padded(picture):
    canvas = Image.new("RGB", (48, 32))
    canvas.paste(picture)
    return canvas


def test_small_ones_are_not_made_larger(tmp_path):
    assert drawn(tmp_path, images.png(8, 6), "png").size == (8, 6)
    assert drawn(tmp_path, images.png(400, 100), "png", side=100).size == (100, 25)
    assert drawn(tmp_path, images.svg(width=30, height=20), "svg").size == (30, 20)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_noise_is_made_worse_rather_than_left(tmp_path, mode):
    path = tmp_path / "noise.png"
    path.write_bytes(images.png(1600, 800, mode=mode))
    made = render_thumbnail(path, "png", side=1600, upright=True)
    assert len(made) <= 750_000
    image = opened(made)
    assert image.width >= 400
    assert image.width / image.height == pytest.approx(2, abs=0.01)


# --- The process ------------------------------------------------------------------------------------------------------


def test_another_process_takes_the_place_of_one_that_was_killed(tmp_path):
    assert drawn(tmp_path, images.png(), "png")
    for child in list(probing._thumbnail_pool._children):
        os.kill(child._process.pid, signal.SIGKILL)
        child._process.wait()
    assert drawn(tmp_path, images.png(), "png")


@pytest.mark.parametrize("moment", ["__init__", "call"])
def test_one_that_is_killed_says_nothing_about_the_image(tmp_path, monkeypatch, moment):
    def killed(child, *_, **__):
        raise WorkerKilledError("the reader died (Killed)")

    probing._thumbnail_pool.close()
    with monkeypatch.context() as patch:
        patch.setattr(probing.pool.Worker, moment, killed)
        with pytest.raises(ReadingInterrupted):
            drawn(tmp_path, images.png(), "png")
    assert drawn(tmp_path, images.png(), "png")


def test_uploads_are_not_asked_of_the_same_processes(tmp_path, monkeypatch):
    def busy(*_, **__):
        raise PoolExhaustedError

    path = tmp_path / "a.png"
    path.write_bytes(images.png())
    monkeypatch.setattr(probing._thumbnail_pool, "call", busy)
    with pytest.raises(Unavailable):
        render_thumbnail(path, "png", side=SIDE, upright=True)
    assert probing.probe(path).width == 8
