"""What workers draw for previews: upright or as stored, one frame, and of damaged files what can be decoded."""

import struct
from io import BytesIO

import pillow_heif
import pytest
from PIL import Image, ImageDraw, ImageOps, ImageStat

from rendering.previews import SIZES, preview_recipe
from sourceimages.formats import RENDERABLE
from sourceimages.models import StoredFile
from tests.sourceimages.probing.test_corpus import CORPUS, manifest
from tests.support import images, tiffs

pytestmark = pytest.mark.any_database

WITHOUT = {  # in the corpus: what no decoder here can read
    "heic/mini.heif",
    "psd/cmyk16.psd",
    "pdf/encrypted-user-password.pdf",
}
PLAIN = {"jpg", "png", "webp", "gif", "tif", "avif"}
TURNED = {"heic", "avif", "jxl", "pdf"}  # by the format itself
CAMERA_RAWS = {"dng", "nef", "nrw", "cr2", "arw", "pef", "srw", "orf", "rw2", "3fr", "iiq"}

pillow_heif.register_heif_opener()


@pytest.fixture
def drawn(painter, tmp_path):
    """Draws the preview of a file, or of this content; None if there is none."""

    def draw(source, format, *, size="small", upright=True, **metadata):
        if isinstance(source, bytes):
            path = tmp_path / "source"
            path.write_bytes(source)
        else:
            path = source
        file = StoredFile(format=format, content_hash="", static_metadata=metadata, width=0, height=0)
        recipe = {**preview_recipe(file, size, upright=upright).body}
        recipe["source"] = {**recipe["source"], "path": str(path)}
        answer, content = painter.paint(recipe)
        if "error" in answer:
            assert answer["error"] in ("unreadable_source", "render_too_large")
            return None
        image = Image.open(BytesIO(content))
        assert image.format == "WEBP"
        image.load()
        return image

    return draw


def mean(image):
    """Red, green and blue on average, on gray."""
    rgba = image.convert("RGBA")
    below = Image.new("RGBA", rgba.size, "grey")
    return ImageStat.Stat(Image.alpha_composite(below, rgba).convert("RGB")).mean


# --- Real files -------------------------------------------------------------------------------------------------------


def is_renderable(item):
    return item["expected"]["format"] in RENDERABLE - CAMERA_RAWS


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("item", manifest("images/images.json", "files", is_renderable))
def test_real_files(drawn, item, upright):
    expected = item["expected"]
    image = drawn(CORPUS / "images" / item["path"], expected["format"], upright=upright)
    if item["path"] in WITHOUT:
        assert image is None
        return
    prefix = "display_" if upright or expected["format"] in TURNED else ""
    width, height = expected[f"{prefix}width"], expected[f"{prefix}height"]
    assert max(image.size) <= SIZES["small"]
    assert not {"exif", "xmp", "icc_profile"} & image.info.keys()
    if width is None:  # an SVG without a size is as large as what it shows
        return
    if expected["format"] == "pdf":  # in points, drawn with more pixels
        assert image.width / image.height == pytest.approx(width / height, rel=0.01)
        return
    scale = min(1, SIZES["small"] / max(width, height))
    assert image.size == pytest.approx((width * scale, height * scale), abs=1.01)


def is_plain(item):
    """Whether Pillow alone shows it in the right colors; what AVIF crops it does not crop."""
    if item["path"] == "avif/clap-crop.avif" or item["expected"]["format"] not in PLAIN:
        return False
    try:
        with Image.open(CORPUS / "images" / item["path"]) as image:
            image.load()
            return image.mode in ("RGB", "RGBA", "L", "LA", "P", "1") and "icc_profile" not in image.info
    except (OSError, ValueError, SyntaxError):
        return False


@pytest.mark.parametrize("item", manifest("images/images.json", "files", is_plain))
def test_colors_of_real_files(drawn, item):
    path = CORPUS / "images" / item["path"]
    with Image.open(path) as original:
        assert mean(drawn(path, item["expected"]["format"])) == pytest.approx(mean(original), abs=5)


# --- Orientation ------------------------------------------------------------------------------------------------------


def lopsided():
    """Twice as wide as high, red on the left and blue on the right."""
    image = Image.new("RGB", (40, 20), "blue")
    ImageDraw.Draw(image).rectangle((0, 0, 19, 19), fill="red")
    return image


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def assert_upright_and_stored(drawn, content, format, orientation):
    tagged = Image.open(BytesIO(images.encoded(lopsided(), "PNG", exif=with_orientation(orientation))))
    for upright, right in (True, ImageOps.exif_transpose(tagged)), (False, lopsided()):
        made = drawn(content, format, upright=upright).convert("RGB")
        assert made.size == right.size
        for spot in (4, 4), (right.width - 5, right.height - 5):
            assert made.getpixel(spot) == pytest.approx(right.convert("RGB").getpixel(spot), abs=40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "name"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF")])
def test_an_image_is_turned_upright_or_as_stored(drawn, format, name, orientation):
    content = images.encoded(lopsided(), name, exif=with_orientation(orientation))
    assert_upright_and_stored(drawn, content, format, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_that_only_the_second_decoder_reads_is_turned_likewise(drawn, orientation):
    assert_upright_and_stored(drawn, in_separate_tiles(orientation), "tif", orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_preview_in_a_camera_raw_is_turned_likewise(drawn, orientation):
    jpeg = images.encoded(lopsided(), "JPEG", quality=95)
    preview = {254: 1, 256: 40, 257: 20, 259: 7, 262: 6, tiffs.STRIP_OFFSETS: jpeg, 279: len(jpeg)}
    sensor = tiffs.image(80, 40, photometric=tiffs.CFA)
    first = tiffs.pixels(16, 12) | {254: 1, 271: "SONY", 274: orientation, tiffs.SUB_IFDS: [sensor, preview]}
    assert_upright_and_stored(drawn, tiffs.build(first), "arw", orientation)


def test_jpeg_xl_is_not_turned_by_exif(drawn):
    """Its pixels come turned by its own header; EXIF beside them says nothing more."""
    exif = with_orientation(6).tobytes().removeprefix(b"Exif\0\0")
    content = images.jxl(lopsided(), lossless=True, usecontainer=True)
    content += struct.pack(">I4s4x", 12 + len(exif), b"Exif") + exif
    for upright in True, False:
        assert drawn(content, "jxl", upright=upright).size == (40, 20)


def in_separate_tiles(orientation):
    """A TIFF with a tile for each of its colors, which libvips does not read."""
    canvas = Image.new("RGB", (48, 32))
    canvas.paste(lopsided())
    planes = [plane.tobytes() for plane in canvas.split()]
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


# --- What is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "name"),
    [("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"), ("tif", "TIFF"), ("avif", "AVIF"), ("heic", "HEIF")],
)
def test_transparency_is_kept(drawn, format, name):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, 31, 63), fill=(255, 0, 0, 255))
    made = drawn(images.encoded(image, name), format)
    assert made.mode == "RGBA"
    assert made.getpixel((50, 30))[3] < 10
    assert made.getpixel((10, 30)) == pytest.approx((255, 0, 0, 255), abs=10)


@pytest.mark.parametrize(("format", "name"), [("gif", "GIF"), ("webp", "WEBP")])
def test_an_animation_is_shown_by_its_first_frame(drawn, format, name):
    frames = [Image.new("RGB", (40, 20), color) for color in ("red", "blue", "lime")]
    made = drawn(images.encoded(frames[0], name, save_all=True, append_images=frames[1:]), format)
    assert getattr(made, "n_frames", 1) == 1
    assert mean(made) == pytest.approx((255, 0, 0), abs=10)


def test_small_images_are_not_enlarged(drawn):
    assert drawn(images.png(8, 6), "png").size == (8, 6)
    assert drawn(images.png(400, 100), "png").size == (320, 80)
    assert drawn(images.png(400, 100), "png", size="large").size == (400, 100)
    assert drawn(images.svg(width=30, height=20), "svg").size == (30, 20)


def test_what_can_be_decoded_of_a_damaged_file_is_shown(drawn):
    content = images.encoded(Image.new("RGB", (400, 400), "red"), "JPEG", quality=95, progressive=False)
    cut = content[: len(content) * 2 // 3]
    assert drawn(cut, "jpg") is None
    made = drawn(cut, "jpg", damaged={"missing": "end"}).convert("RGB")
    assert made.size == (320, 320)
    assert made.getpixel((10, 10)) == pytest.approx((255, 0, 0), abs=10)


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
    ).encode()


@pytest.mark.parametrize(
    "reference", ["file://{path}", "{path}", "secret.png", "./secret.png", "../{folder}/secret.png"]
)
def test_a_drawing_shows_no_other_file(drawn, tmp_path, reference):
    image = drawn(drawing_that_refers(tmp_path, reference), "svg")
    assert image is None or mean(image) == pytest.approx((0, 0, 255), abs=5)


def test_a_drawing_includes_no_other_file(drawn, tmp_path):
    (tmp_path / "secret.txt").write_text("MMMMMMMM")
    head = f'<!DOCTYPE svg [<!ENTITY secret SYSTEM "file://{tmp_path}/secret.txt">]>'

    def with_text(text):
        return (
            f'{head}<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">'
            f'<text x="0" y="50" font-size="30">{text}</text></svg>'
        ).encode()

    image, empty = drawn(with_text("&secret;"), "svg"), drawn(with_text(""), "svg")
    assert image is None or image.tobytes() == empty.tobytes()


@pytest.mark.parametrize("format", sorted(RENDERABLE - {"svg"}))
def test_a_drawing_under_another_name_is_refused(drawn, tmp_path, format):
    assert drawn(drawing_that_refers(tmp_path, "secret.png"), format) is None


def test_a_format_that_is_not_supported_is_refused_under_any_name(drawn):
    """Pillow knows many, and starts a program for some."""
    content = images.encoded(Image.new("RGB", (20, 20), "red"), "BMP")
    assert [format for format in sorted(RENDERABLE) if drawn(content, format)] == []
