"""Optimization of TIFF and PSD files."""

import io
import struct
from datetime import timedelta

import pytest
import pyvips
from django.utils import timezone
from django.utils.http import http_date
from PIL import Image

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from organizations.usage import counters
from sourceimages import operations, probing, queue, storage
from sourceimages.errors import ReadingInterrupted
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations import copy_image, set_locked
from sourceimages.probing import transcoding
from tests.conftest import files_in
from tests.support import images, photos, tiffs

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]


@pytest.fixture
def uploaded(acme, alice, monkeypatch):
    """Uploads; nothing is done until the test does it. Answers the item of the answer."""
    monkeypatch.setattr(queue, "enqueue_optimize", lambda files: None)

    def upload(content, wish="true", name="scan.tif"):
        response = alice.upload(acme, content, name=name, optimize_source=wish)
        assert response.status_code == 200, response.json()
        return response.json()["items"][0]

    return upload


def done():
    """Run all pending optimizations; return the file."""
    for file_id in operations.waiting_to_be_optimized():
        operations.optimize(file_id)
    assert operations.waiting_to_be_optimized() == []
    return StoredFile.objects.get()


def content_of(file):
    return b"".join(storage.originals().open(file.key))


def pixels(content):
    return pyvips.Image.new_from_buffer(bytes(content), "")


LOSSLESS = {
    "rgb": photos.noise(61, 43, 3),
    "rgb, 16 bits": photos.noise(61, 43, 3, bits=16),
    "grey": photos.noise(61, 43, 1),
    "grey, 16 bits": photos.noise(61, 43, 1, bits=16),
    "rgba": photos.noise(61, 43, 4),
    "rgba, 16 bits": photos.noise(61, 43, 4, bits=16),
}


@pytest.mark.parametrize("wish", ["true", "png"])
@pytest.mark.parametrize("image", LOSSLESS.values(), ids=LOSSLESS.keys())
def test_a_tiff_becomes_a_png_with_the_same_pixels(uploaded, image, wish):
    original = photos.tiff(image)
    before = uploaded(original, wish)
    assert (before["format"], before["mimetype"], before["size"]) == ("tif", "image/tiff", len(original))
    file = done()
    assert (file.format, file.mimetype, file.optimize_to, file.optimize_started_at) == ("png", "image/png", "", None)
    written = pixels(content_of(file))
    assert (written.format, written.bands) == (image.format, image.bands)
    assert (written == pixels(original)).min() == 255


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["rgb", "rgb, 16 bits", "grey", "grey, 16 bits", "rgba", "rgba, 16 bits"])
def test_a_psd_becomes_a_png_with_the_same_pixels(uploaded, name, packed, large):
    image = LOSSLESS[name]
    before = uploaded(photos.psd(image, packed=packed, large=large, alpha=image.bands == 4), name="design.psd")
    assert before["format"] == "psd"
    file = done()
    assert file.static_metadata["optimize"].get("skipped_reason") is None
    written = pixels(content_of(file))
    assert (written.format, written.bands) == (image.format, image.bands)
    assert (written == image).min() == 255


def test_black_and_white_stays_one_bit(uploaded):
    image = (photos.noise(64, 40, 1) > 128).cast("uchar")
    original = photos.tiff(image, bitdepth=1, compression="ccittfax4")
    uploaded(original)
    content = content_of(done())
    assert content[24:26] == b"\x01\x00"  # bit depth and color type in the PNG header
    assert (pixels(content) == pixels(original)).min() == 255


def test_profile_orientation_and_resolution_stay(uploaded):
    image = photos.noise(40, 30, 3).copy(xres=11.811, yres=11.811)
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", photos.SRGB)
    before = uploaded(photos.tiff(image))
    assert before["static_metadata"]["exif"]["orientation"] == 6
    file = done()
    written = pixels(content_of(file))
    assert (file.width, file.height) == (40, 30)
    assert written.get("orientation") == 6
    assert round(written.xres, 2) == 11.81
    assert bytes(written.get("icc-profile-data")) == photos.SRGB


def test_photoshop_metadata_is_preserved(uploaded):
    resources = photos.resource(1005, struct.pack(">I4xI4x", 300 << 16, 300 << 16)) + photos.resource(1039, photos.SRGB)
    uploaded(photos.psd(photos.noise(40, 30, 3), resources=resources), name="design.psd")
    written = pixels(content_of(done()))
    assert round(written.xres * 25.4) == 300
    assert bytes(written.get("icc-profile-data")) == photos.SRGB


@pytest.mark.parametrize(
    ("image", "format"), [("rgb", "jpg"), ("rgb, 16 bits", "jpg"), ("grey", "jpg"), ("rgba", "webp")]
)
def test_a_photo_is_as_good_as_the_original_to_the_eye(uploaded, image, format):
    image = photos.noise(64, 48, LOSSLESS[image].bands, bits=16 if "16" in image else 8)
    smooth = image.gaussblur(4) if image.format == "uchar" else image.gaussblur(4).cast("ushort")
    original = photos.tiff(smooth.copy(interpretation=image.interpretation))
    uploaded(original, "jpg")
    file = done()
    assert (file.format, file.mimetype) == (format, {"jpg": "image/jpeg", "webp": "image/webp"}[format])
    written, sent = pixels(content_of(file)), pixels(original)
    sent = sent / 257 if sent.format == "ushort" else sent
    assert written.bands == sent.bands
    assert (written - sent).abs().avg() < 4


def test_full_opacity_is_no_reason_for_webp(uploaded):
    image = photos.noise(64, 48, 3).bandjoin(255).copy(interpretation="srgb")
    uploaded(photos.tiff(image), "jpg")
    assert done().format == "jpg"


def cmyk():
    file = io.BytesIO()
    Image.new("CMYK", (30, 20), (255, 0, 0, 0)).save(file, "TIFF")
    return file.getvalue()


def test_ink_becomes_light_by_its_profile(uploaded):
    uploaded(cmyk(), "jpg")
    file = done()
    red, green, blue = pixels(content_of(file))(15, 10)
    assert file.format == "jpg"
    assert red < 100 < min(green, blue)  # cyan


def float32():
    return photos.tiff(photos.noise(20, 10, 1).cast("float"))


def premultiplied():
    """An associated alpha channel: its kind, the value of tag 338, is 1 instead of 2."""
    content = bytearray(photos.tiff(photos.noise(20, 10, 4)))
    entry = content.index(struct.pack("<HHI", 338, 3, 1)) + 8
    content[entry : entry + 2] = struct.pack("<H", 1)
    return bytes(content)


def damaged():
    content = bytearray(photos.tiff(photos.noise(200, 200, 3), compression="deflate"))
    content[200:600] = b"\xff" * 400
    return bytes(content)


SAID = tiffs.pixels(40, 30) | tiffs.exif() | {700: tiffs.XMP, 33723: tiffs.iptc(caption="Hafen", keywords="See")}
PATH = photos.resource(2000, b"a clipping path")  # of Photoshop
GROUPS = ("exif", "location", "iptc", "xmp", "icc")


def said(item):
    return {group: item["static_metadata"].get(group) for group in GROUPS}


@pytest.mark.parametrize("wish", ["png", "jpg"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_rights_dates_and_place_of_a_tiff_are_not_lost(uploaded, alice, wish, order):
    before = uploaded(tiffs.build(SAID, order=order), wish)
    assert before["static_metadata"]["exif"]["artist"] == "Kim Lee"
    assert before["static_metadata"]["iptc"] == {"caption": "Hafen", "keywords": ["See"]}
    assert before["static_metadata"]["location"] == {"latitude": 47.5, "longitude": -47.5, "altitude": 408.0}
    file = done()
    assert file.format == wish
    with storage.originals().local_path(file.key) as path:
        after = probing.probe(path).static_metadata
    assert said({"static_metadata": after}) == said(before) == said(alice.api.get(before["link"]).json())


@pytest.mark.parametrize(("wish", "format"), [("png", "png"), ("jpg", "jpg"), ("jpg", "webp")])
def test_rights_in_a_psd_are_not_lost(uploaded, wish, format):
    exif = tiffs.build(tiffs.exif())
    resources = photos.resource(1058, exif) + photos.resource(1060, tiffs.XMP) + photos.resource(1039, photos.SRGB)
    if format != "webp":
        resources += photos.resource(1028, tiffs.iptc(caption="Hafen", byline="Kim")) + PATH
    image = photos.noise(41, 30, 4 if format == "webp" else 3)
    before = uploaded(photos.psd(image, resources=resources, alpha=format == "webp"), wish, name="design.psd")
    file = done()
    assert file.format == format
    with storage.originals().local_path(file.key) as path:
        assert said({"static_metadata": probing.probe(path).static_metadata}) == said(before)
        assert (b"a clipping path" in path.read_bytes()) is (format == "jpg")  # packed in a PNG
    assert before["static_metadata"]["exif"]["artist"] == "Kim Lee"


def test_rights_from_the_field_are_not_lost(uploaded, corpus):
    before = uploaded((corpus / "field" / "rights.tif").read_bytes())
    file = done()
    assert file.format == "png"
    with storage.originals().local_path(file.key) as path:
        after = probing.probe(path).static_metadata
    assert said({"static_metadata": after}) == said(before)
    assert (after["exif"]["artist"], after["exif"]["date_time_original"]) == ("Kim Lee", "2024:06:11 10:00:00")
    assert after["location"] == {"latitude": 47.5, "longitude": 8.5}
    assert after["iptc"] == {"caption": "A harbour", "keywords": ["sea"], "copyright_notice": "Kim Lee 2024"}
    assert after["xmp"]["title"] == "Harbour"


def test_a_camera_raw_is_never_rewritten(uploaded):
    before = uploaded(tiffs.dng())
    assert (before["format"], before["width"], before["height"]) == ("dng", 600, 400)
    assert operations.waiting_to_be_optimized() == []


def test_a_camera_raw_that_was_taken_for_a_tiff_is_not_rewritten(uploaded):
    uploaded(tiffs.dng())
    StoredFile.objects.update(format="tif", mimetype="image/tiff", optimize_to="png")  # as before raws were known
    SourceImage.objects.update(format="tif", mimetype="image/tiff")
    file = done()
    assert file.static_metadata["optimize"]["skipped_reason"] == "it is a camera raw (dng)"
    assert content_of(file) == tiffs.dng()


GREY = tiffs.pixels(40, 30)
MORE = {  # what a TIFF may have beside its pixels that other formats have no place for
    "geotiff": ({33550: (1, 1, 0), 33922: (0, 0, 0, 7, 8, 0), 34735: (1, 1, 0, 0)}, "GeoTIFF"),
    "layers of photoshop": ({37724: b"Adobe Photoshop Document Data Block\0"}, "ImageSourceData"),
    "unknown tag": ({65000: "for us alone"}, "tag 65000"),
    "images below": ({330: [tiffs.image(4, 3, reduced=True)]}, "SubIFDs"),
    "notes of the maker": ({34665: [{37500: b"anything"}]}, "MakerNote"),
    "unknown exif tag": ({34665: [{64999: 1}]}, "tag 64999"),
    "exif that is nowhere": ({34665: (10**8,)}, "can't be read"),
    "exif of an unknown type": ({34665: "where?"}, "has a type"),
    "preview of a larger image": ({254: 1}, "preview"),
    "two captions": (
        {33723: tiffs.iptc(caption="One"), 34377: photos.resource(1028, tiffs.iptc(caption="Other"))},
        "two different IPTC blocks",
    ),
    "xmp in latin-1": ({700: tiffs.XMP.replace(b"\xc3\xbc", b"\xfc")}, "UTF-8"),
    "exif that is not read": ({34377: photos.resource(1058, tiffs.build(tiffs.exif()))}, "changed in the conversion"),
}


@pytest.mark.parametrize(("tags", "reason"), MORE.values(), ids=MORE.keys())
def test_a_tiff_with_more_than_the_new_format_holds_is_skipped(uploaded, tags, reason):
    content = tiffs.build(GREY | tags)
    uploaded(content)
    file = done()
    assert reason in file.static_metadata["optimize"]["skipped_reason"]
    assert (file.format, content_of(file)) == ("tif", content)


TOO_MUCH = {
    "long xmp": (
        GREY | {700: tiffs.XMP.replace(b"Rating", b"Rating" + bytes(70_000).hex().encode())},
        "XMP is too long",
    ),
    "long exif": (GREY | {270: "a" * 70_000}, "EXIF is too long"),
    "long path": (GREY | {34377: photos.resource(2000, bytes(70_000))}, "too long"),
}


@pytest.mark.parametrize(("tags", "reason"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_a_jpeg_has_no_room_for_is_skipped_and_fits_into_a_png(uploaded, tags, reason):
    uploaded(tiffs.build(tags), "jpg")
    assert reason in done().static_metadata["optimize"]["skipped_reason"]
    StoredFile.objects.update(optimize_to="png")
    assert done().format == "png"


def test_webp_has_no_place_for_iptc(uploaded):
    resources = photos.resource(1028, tiffs.iptc(caption="Hafen"))
    uploaded(photos.psd(photos.noise(40, 30, 4), resources=resources, alpha=True), "jpg", name="design.psd")
    assert "IPTC" in done().static_metadata["optimize"]["skipped_reason"]


@pytest.mark.parametrize("content", [tiffs.build(GREY), photos.psd(photos.noise(40, 30, 3))], ids=["tif", "psd"])
def test_what_a_program_put_behind_the_end_is_not_lost(uploaded, content):
    uploaded(content + b"0\0\0\0?cbipcbbl")
    assert done().static_metadata["optimize"]["skipped_reason"] == "it has data after its end"


LEFT = {
    "pages": (photos.multipage(), "png", "2 pages"),
    "pages as a photo": (photos.multipage(), "jpg", "2 pages"),
    "ink": (cmyk(), "png", "cmyk"),
    "float": (float32(), "png", "float"),
    "float as a photo": (float32(), "jpg", "float"),
    "premultiplied": (premultiplied(), "png", "multiplied"),
    "damaged": (damaged(), "png", "can't be read"),
    "cut off psd": (photos.psd(photos.noise(60, 40, 3), packed=True)[:-500], "png", "can't be read"),
    "psd with a mask": (photos.psd(photos.noise(60, 40, 4)), "png", "channels beyond"),
}


@pytest.mark.parametrize(("content", "wish", "reason"), LEFT.values(), ids=LEFT.keys())
def test_what_another_format_cannot_hold_is_skipped_with_a_reason(uploaded, acme, content, wish, reason):
    before = uploaded(content, wish)
    file = done()
    assert reason in file.static_metadata["optimize"]["skipped_reason"]
    assert (file.format, file.size, content_of(file)) == (before["format"], len(content), content)
    assert AuditEvent.objects.filter(action="file.optimization_skipped").count() == 1


def test_everything_that_shows_the_file_follows(uploaded, acme, alice, storage_dir):
    original = photos.tiff(photos.noise(61, 43, 3))
    before = uploaded(original)
    protected = alice.api.put(before["link"] + "/options/protected", True, format="json").headers["Location"]
    file = done()
    for link in (before["link"], protected):
        after = alice.api.get(link).json()
        assert (after["format"], after["mimetype"], after["size"]) == ("png", "image/png", file.size)
        assert (after["binary_hash"], after["width"], after["height"]) == (before["binary_hash"], 61, 43)
        assert after["static_metadata"]["optimize"] == {
            "from": "tif", "to": "png", "from_size": len(original), "size": file.size,
        }  # fmt: skip
        response = alice.api.get(link + "/download")
        assert (response.headers["Content-Type"], response.headers["ETag"]) == ("image/png", f'"{file.content_hash}"')
        assert b"".join(response.streaming_content) == content_of(file)
    assert counters.totals(acme).bytes == file.size
    kept = {path.relative_to(storage_dir).as_posix() for path in files_in(storage_dir)}
    assert kept == {file.key, "trash/" + file.optimized_from["key"]}


def test_a_second_upload_of_the_original_is_the_same_image_and_optimizes_nothing(uploaded):
    original = photos.tiff(photos.noise(61, 43, 3))
    first = uploaded(original, "false")
    second = uploaded(original, "true")
    assert operations.waiting_to_be_optimized() == []
    file = StoredFile.objects.get()
    assert (second["hash"], file.format, content_of(file)) == (first["hash"], "tif", original)


def test_the_original_is_known_after_it_was_rewritten(uploaded):
    original = photos.tiff(photos.noise(61, 43, 3))
    first = uploaded(original)
    done()
    again = uploaded(original)
    assert (again["hash"], again["format"]) == (first["hash"], "png")
    assert SourceImage.objects.count() == 1


def test_other_formats_are_ignored(uploaded):
    uploaded(images.png(), name="a.png")
    assert operations.waiting_to_be_optimized() == []
    assert "optimize" not in StoredFile.objects.get().static_metadata


def test_a_locked_image_waits_until_it_is_unlocked(uploaded, alice):
    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    image = set_locked(SourceImage.objects.get(), True, actor=alice.actor)
    assert operations.waiting_to_be_optimized() == []
    assert operations.optimize(image.file_id) is False
    assert StoredFile.objects.get().format == "tif"
    set_locked(image, False, actor=alice.actor)
    assert done().format == "png"


def test_a_copy_has_the_requested_format_too(uploaded, stage):
    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    image = SourceImage.objects.select_related("organization").get()
    copy_image(image, stage, overwrite=False, actor=COMMAND)
    for file_id in operations.waiting_to_be_optimized():
        operations.optimize(file_id)
    assert set(StoredFile.objects.values_list("format", flat=True)) == {"png"}
    assert set(SourceImage.objects.values_list("format", "size")) == {("png", StoredFile.objects.first().size)}


def test_a_copy_that_began_before_the_switch_takes_the_new_file(uploaded, stage, monkeypatch):
    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    image = SourceImage.objects.select_related("organization").get()
    real, rewritten = storage.LocalStorage.copy, []

    def copy_late(self, pairs):
        if not rewritten:
            rewritten.append(operations.optimize(image.file_id))
        return real(self, pairs)

    monkeypatch.setattr(storage.LocalStorage, "copy", copy_late)
    copy_image(image, stage, overwrite=False, actor=COMMAND)
    assert rewritten == [True]
    assert stage.images.get().format == stage.files.get().format == "png"
    assert content_of(stage.files.get()) == content_of(image.organization.files.get())


def test_a_lease_is_respected_until_it_expires(uploaded):
    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    file = StoredFile.objects.get()
    StoredFile.objects.update(optimize_started_at=timezone.now())
    assert operations.waiting_to_be_optimized() == []
    assert operations.optimize(file.pk) is False
    StoredFile.objects.update(optimize_started_at=timezone.now() - timedelta(minutes=11))
    assert done().format == "png"


def test_a_rewriter_that_is_killed_is_no_fault_of_the_file(uploaded, monkeypatch):
    """Out of memory, say: it has its turn again a day later, and others have theirs before."""

    def killed(child, request, *, seconds):
        child._process.kill()
        return child._read_response(seconds)

    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    file = StoredFile.objects.get()
    with monkeypatch.context() as patch:
        patch.setattr(transcoding.Worker, "call", killed)
        with pytest.raises(ReadingInterrupted):
            operations.optimize(file.pk)
    assert operations.waiting_to_be_optimized() == []
    file.refresh_from_db()
    assert (file.optimize_to, file.static_metadata.get("optimize")) == ("png", None)
    StoredFile.objects.update(optimize_started_at=file.optimize_started_at - timedelta(days=1))
    assert done().format == "png"


def test_a_purged_file_is_nothing_to_do(uploaded):
    uploaded(photos.tiff(photos.noise(61, 43, 3)))
    assert operations.optimize(StoredFile.objects.get().pk + 1) is False


def test_files_are_optimized_in_process_without_a_queue(acme, alice, in_process, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        item = alice.upload(acme, photos.tiff(photos.noise(61, 43, 3)), optimize_source="true").json()["items"][0]
    assert item["format"] == "tif"  # as received
    assert alice.api.get(item["link"]).json()["format"] == "png"


def test_a_download_that_began_before_the_switch_finds_the_new_file(uploaded, alice, monkeypatch):
    item = uploaded(photos.tiff(photos.noise(61, 43, 3)))
    real = storage.LocalStorage.open
    rewritten = []

    def open_late(self, key, *arguments):
        if not rewritten:
            rewritten.append(done())
        return real(self, key, *arguments)

    monkeypatch.setattr(storage.LocalStorage, "open", open_late)
    response = alice.api.get(item["link"] + "/download")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    assert b"".join(response.streaming_content)[:4] == b"\x89PNG"


@pytest.mark.parametrize("format", ["tif", "psd"])
def test_real_files_become_png_or_say_why_not(uploaded, corpus, format):
    for path in sorted((corpus / "images" / format).iterdir()):
        StoredFile.objects.exclude(optimize_to="").update(optimize_to="")
        uploaded(path.read_bytes(), "true", name=path.name)
        for file_id in operations.waiting_to_be_optimized():
            operations.optimize(file_id)
        said = StoredFile.objects.latest("pk").static_metadata["optimize"]
        assert said.get("to") == "png" or said["skipped_reason"]


def test_an_optimized_file_is_newer_than_it_was(uploaded, alice):
    item = uploaded(photos.tiff(LOSSLESS["rgb"]))
    month_ago = timezone.now() - timedelta(days=30)
    StoredFile.objects.update(created=month_ago)
    since = {"If-Unmodified-Since": http_date(month_ago.timestamp())}
    assert alice.api.get(f"{item['link']}/download", headers=since).status_code == 200
    assert done().modified > month_ago
    assert alice.api.get(f"{item['link']}/download", headers=since).status_code == 412
