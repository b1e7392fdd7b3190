"""Sources of all formats: upright, in sRGB with 8 bits, within limits."""

import time
from io import BytesIO

import numpy
import pytest
from imagecodecs import jpegxl_encode, jpegxl_encode_jpeg
from PIL import Image, ImageCms

from tests.sourceimages.probing.test_corpus import CORPUS, manifest
from tests.support import images, paint, photos, tiffs

pytestmark = pytest.mark.any_database

SUFFIXES = {"tiff": "tif", "svgz": "svg", "jpeg": "jpg"}
WITHOUT = {"heic/mini.heif", "psd/cmyk16.psd", "pdf/encrypted-user-password.pdf"}  # what no decoder here can read
BITMAPS = {"jpg", "png", "gif", "webp", "avif", "heic", "jxl", "tif", "psd", "svg", "pdf"}
SECONDS = 40  # on a busy machine; most take a few milliseconds
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def half():
    """Red on the left, blue on the right, as stored."""
    image = Image.new("RGB", (60, 40), "red")
    image.paste("blue", (30, 0, 60, 40))
    return image


# --- Orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("operations", [(), ({"resize": {"width": 20}},)])
def test_images_are_turned_upright_first(rendered, half, format, operations):
    exif = Image.Exif()
    exif[274] = 6
    content = images.encoded(half, format, exif=exif)
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(format, format.lower())
    image = rendered(content, *operations, format=suffix).convert("RGB")
    assert image.size == ((20, 30) if operations else (40, 60))
    assert image.getpixel((10, 5))[0] > 200
    assert image.getpixel((10, image.height - 5))[2] > 200


def test_the_orientation_can_be_in_xmp(rendered, half):
    assert rendered(images.encoded(half, "JPEG", xmp=XMP.encode()), format="jpg").size == (40, 60)


def test_exif_counts_before_xmp(rendered, half):
    exif = Image.Exif()
    exif[274] = 1
    assert rendered(images.encoded(half, "JPEG", xmp=XMP.encode(), exif=exif), format="jpg").size == (60, 40)


# --- Colors -----------------------------------------------------------------------------------------------------------


def test_colors_are_converted_to_srgb(rendered):
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    pixels = Image.new("RGB", (16, 16), (200, 60, 60))
    profile = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    swapped = profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    swapped = swapped.replace(b"sRGB built-in", b"with two swapped")
    swapped = swapped.replace("sRGB built-in".encode("utf-16-be"), "made for tests".encode("utf-16-be")[:26])
    converted = rendered(images.encoded(pixels, "PNG", icc_profile=bytes(swapped))).convert("RGB").getpixel((8, 8))
    assert converted == pytest.approx((60, 60, 200), abs=6)
    ignored = images.encoded(pixels, "PNG", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert rendered(ignored).convert("RGB").getpixel((8, 8)) == (200, 60, 60)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200])
def test_invalid_profiles_are_ignored(rendered, profile):
    content = images.encoded(Image.new("RGB", (8, 8), (10, 200, 30)), "JPEG", icc_profile=profile, quality=100)
    assert rendered(content, format="jpg").convert("RGB").getpixel((4, 4)) == pytest.approx((10, 200, 30), abs=3)


def test_cmyk_becomes_rgb(rendered):
    content = images.encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF")
    red, green, blue = rendered(content, format="tif").convert("RGB").getpixel((8, 8))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_sixteen_bits_become_eight(rendered, bands):
    deep = photos.noise(20, 10, bands, bits=16)
    image = rendered(photos.tiff(deep), format="tif")
    expected = numpy.asarray(numpy.frombuffer(deep.write_to_memory(), numpy.uint16).reshape(10, 20, bands) / 257)
    found = numpy.asarray(image).reshape(10, 20, -1)
    assert found.shape[2] == bands
    visible = expected[..., -1] > 40 if bands in (2, 4) else slice(None)
    assert numpy.abs(found - expected)[visible].max() <= 2


def test_floating_point_samples_are_stretched(rendered):
    content = images.encoded(Image.fromarray(numpy.linspace(-1, 3, 100, dtype=numpy.float32).reshape(10, 10)), "TIFF")
    found = numpy.asarray(rendered(content, format="tif").convert("L"))
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_jpeg_xl(rendered, bands):
    samples = numpy.random.default_rng(bands).integers(0, 256, (10, 20, bands), numpy.uint8)
    samples[..., -1] |= 128  # visible, if it is alpha
    found = rendered(bytes(jpegxl_encode(samples.squeeze(), lossless=True)), format="jxl")
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[bands]
    assert (numpy.asarray(found.convert(mode)).reshape(10, 20, -1) == samples).all()


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_xl_of_sixteen_bits(rendered, bands):
    """The encoder declares such samples as linear."""
    deep = numpy.random.default_rng(bands).integers(0, 65536, (10, 20, bands), numpy.uint16)
    image = rendered(bytes(jpegxl_encode(deep.squeeze(), lossless=True)), format="jxl")
    linear = deep / 65535
    expected = 255 * numpy.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    difference = numpy.abs(numpy.asarray(image.convert("RGB" if bands == 3 else "L")).reshape(deep.shape) - expected)
    assert difference.mean() < 1  # 8 bits of linear light are coarse in the shadows


def test_jpeg_xl_made_of_a_jpeg_is_upright(rendered, half):
    exif = Image.Exif()
    exif[274] = 6
    content = bytes(jpegxl_encode_jpeg(images.encoded(half, "JPEG", exif=exif, quality=95)))
    image = rendered(content, format="jxl").convert("RGB")
    assert image.size == (40, 60)
    assert image.getpixel((10, 5))[0] > 200
    assert image.getpixel((10, 55))[2] > 200


def test_the_first_frame_of_a_jpeg_xl_is_shown(rendered):
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    assert rendered(images.jxl(frames, lossless=True), format="jxl").convert("RGB").getpixel((9, 9)) == (255, 0, 0)


def test_half_a_jpeg_xl_is_refused(refused):
    content = images.jxl(images.image(200, 100), lossless=True)
    assert refused(content[: len(content) // 2], format="jxl")[0] == "unreadable_source"


@pytest.mark.skipif(not CORPUS, reason="TEST_CORPUS is not set")
def test_the_black_of_a_cmyk_jpeg_xl_is_shown(rendered):
    """Its black channel is beside the colors, so it is easily forgotten."""
    image = rendered((CORPUS / "images" / "jxl" / "cmyk-layers.jxl").read_bytes(), format="jxl").convert("L")
    assert image.crop((128, 0, 256, 90)).getextrema()[0] < 80


# --- Kinds of sources -------------------------------------------------------------------------------------------------


def test_the_preview_of_a_camera_raw(rendered):
    """The largest one that can be decoded; areas refer to the photograph."""
    halves = Image.new("RGB", (300, 200), "red")
    halves.paste("blue", (150, 0, 300, 200))
    preview = {254: 1, 256: 300, 257: 200, 259: 7, 262: 6, tiffs.STRIP_OFFSETS: images.encoded(halves, "JPEG")}
    preview[279] = len(preview[tiffs.STRIP_OFFSETS])
    sensor = tiffs.image(600, 400, photometric=tiffs.CFA)
    content = tiffs.build(tiffs.pixels(16, 12) | {254: 1, 271: "SONY", tiffs.SUB_IFDS: [sensor, preview]})
    assert rendered(content, format="arw").size == (300, 200)
    crop = {"crop": {"width": 10, "height": 10}}
    area = {"x": 500, "y": 100, "width": 20, "height": 20}
    assert rendered(content, crop, format="arw", areas={"subject_area": area}).convert("RGB").getpixel((5, 5))[2] > 200


def test_a_camera_raw_without_preview(refused):
    content = tiffs.build(tiffs.image(600, 400, photometric=tiffs.CFA) | {271: "PENTAX Corporation", 259: 65535})
    assert refused(content, format="pef")[0] == "unreadable_source"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_photoshop_files(rendered, packed, bits):
    pixels = photos.noise(30, 20, 3, bits=bits)
    assert rendered(photos.psd(pixels, packed=packed), format="psd").size == (30, 20)


def test_a_placeholder_for_formats_without_an_image(painter):
    recipe = paint.recipe("", "placeholder", {"resize": {"width": 200}}, to="webp")
    recipe["source"] = {"format": "placeholder", "label": "TXT", "message": "<b>No & preview</b>"}
    answer, content = painter.paint(recipe)
    assert (answer["width"], answer["height"]) == (200, 150)
    assert len({color for _, color in Image.open(BytesIO(content)).getcolors(2**16)}) > 10


def test_eps_is_not_executed_but_gets_a_placeholder(rendered):
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file"
    assert rendered(content, {"resize": {"width": 80}}, format="eps").size == (80, 60)


@pytest.mark.parametrize("format", ["docx", "mp4", "otf", "zip", ""])
def test_other_formats_are_left_to_the_caller(refused, format):
    assert refused(images.png(), format=format)[0] == "unreadable_source"


def test_a_missing_file(refused, tmp_path):
    reason, message = refused(tmp_path / "missing.png")
    assert reason == "unreadable_source"
    assert str(tmp_path) not in message
    assert "missing" not in message


def test_a_source_of_another_format_is_not_guessed(refused):
    assert refused(images.png(), format="jpg")[0] == "unreadable_source"
    assert refused(images.svg(), format="png")[0] == "unreadable_source"


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_a_large_source_is_rendered_if_the_result_is_small(rendered, refused):
    content = images.encoded(Image.new("1", (12_000, 10_000)), "PNG")
    assert rendered(content, {"resize": {"width": 12}}).size == (12, 10)
    assert rendered(content, {"crop": {"width": 10, "height": 10}}).size == (10, 10)
    assert refused(content)[0] == "render_too_large"


def test_a_page_of_a_pdf_that_does_not_exist(refused, corpus):
    path = corpus / "images" / "pdf" / "one-page.pdf"
    reason, message = refused(path, format="pdf", options={"pdf.page": 7})
    assert (reason, message) == ("invalid_stack_option", "pdf.page must be at most 1, the number of pages, not 7.")


def test_pages_and_resolution_of_a_pdf(rendered, corpus):
    path = corpus / "images" / "pdf" / "two-page-sizes.pdf"
    first, second = (rendered(path, format="pdf", options={"pdf.page": page}).size for page in (1, 2))
    assert first != second
    low, high = (rendered(path, format="pdf", options={"pdf.dpi": dpi}).width for dpi in (200, 400))
    assert high == 2 * low


# --- Real files, and hostile ones -------------------------------------------------------------------------------------


def wanted(item):
    return item["expected"]["format"] in BITMAPS and item["path"] not in WITHOUT


@pytest.mark.parametrize("item", manifest("images/images.json", "files", wanted))
def test_real_files(rendered, item):
    expected = item["expected"]
    width, height = expected["display_width"], expected["display_height"]
    image = rendered(CORPUS / "images" / item["path"], {"resize": {"width": 64}}, format=expected["format"])
    assert image.width == 64
    if width:
        assert image.height == pytest.approx(64 * height / width, abs=1.01)
    if expected["opaque"] is True and "opaque" not in (item.get("not_asserted") or []) and expected["format"] != "svg":
        assert not image.has_transparency_data


def is_a_file(case):
    return case["file"] and case.get("kind") not in ("raw_request", "filename")


@pytest.mark.parametrize("case", manifest("hostile/hostile.json", "cases", is_a_file))
def test_hostile_files(painter, rendered, case):
    path = CORPUS / "hostile" / case["file"]
    suffix = path.suffix.removeprefix(".")
    for format in {case.get("format"), SUFFIXES.get(suffix, suffix), "png", "tif"} & BITMAPS:
        started = time.monotonic()
        answer, content = painter.paint(paint.recipe(path, format, {"resize": {"width": 50}}, seconds=15))
        assert time.monotonic() - started < SECONDS
        if "width" in answer:
            assert Image.open(BytesIO(content)).size == (answer["width"], answer["height"])
        elif "error" in answer:
            assert answer["error"] in ("unreadable_source", "render_too_large")
            assert str(CORPUS) not in answer["message"]
        else:
            assert answer["died"] < 0  # a limit of the kernel
    assert rendered(images.png()).size == (8, 6)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\xff" * 5000])
@pytest.mark.parametrize("format", sorted(BITMAPS))
def test_nonsense_is_refused(refused, format, content):
    assert refused(content, format=format)[0] == "unreadable_source"


def test_a_jpeg_that_lacks_only_its_end_marker_is_rendered(rendered):
    content = images.jpeg(200, 200).removesuffix(b"\xff\xd9")
    assert rendered(content, {"resize": {"width": 20}}, format="jpg").size == (20, 20)


def test_a_truncated_image_is_refused(refused):
    """A part of an image must not be cached for a year."""
    content = images.jpeg(200, 200)
    assert refused(content[: len(content) // 2], {"resize": {"width": 20}}, format="jpg")[0] == "unreadable_source"
