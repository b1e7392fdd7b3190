"""Files that end early or hold no image data: kept with what is missing, or refused if nothing can be decoded."""

import struct
import sys
import zlib

import pillow_heif
import pytest
from PIL import Image

from sourceimages.errors import UnreadableImage
from sourceimages.models import StoredFile
from sourceimages.probing import probe
from sourceimages.probing.readers import damage
from tests.support import images, photos

pytestmark = pytest.mark.any_database

pillow_heif.register_heif_opener()


@pytest.fixture
def damaged(tmp_path):
    def tell(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return probe(path).static_metadata.get("damaged")

    return tell


def noise(mode="RGB", size=(160, 120)):
    return Image.effect_noise(size, 80).convert(mode)


def saved(format, mode="RGB", **options):
    return images.encoded(noise(mode), format, **options)


def pages(format, mode="RGB", **options):
    frames = [noise(mode) for _ in range(3)]
    return images.encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)


def box(type, content):
    return struct.pack(">I", 8 + len(content)) + type + content


def movie(*, data=400):
    """A video whose four chunks lie in its mdat, 100 bytes each; the moov comes first."""

    def moov(start):
        places = box(b"stco", struct.pack(">II4I", 0, 4, *(start + 100 * number for number in range(4))))
        sizes = box(b"stsz", struct.pack(">III4I", 0, 0, 4, 100, 100, 100, 100))
        runs = box(b"stsc", struct.pack(">II3I", 0, 1, 1, 1, 1))
        handler = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
        media = box(b"mdia", handler + box(b"minf", box(b"stbl", places + runs + sizes)))
        head = box(b"tkhd", bytes(40) + struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30) + bytes(8))
        return box(b"moov", box(b"trak", head + media))

    head = box(b"ftyp", b"isom\0\0\0\0isom")
    start = len(head) + len(moov(0)) + 8
    return head + moov(start) + box(b"mdat", bytes(data))


def jxl_animation():
    return images.jxl([noise("RGB").crop((0, 0, 64, 48)) for _ in range(3)], lossless=True)


WHOLE = {
    "jpg": saved("JPEG"),
    "progressive jpg": saved("JPEG", progressive=True),
    "png": saved("PNG"),
    "gif": saved("GIF", "P"),
    "webp": saved("WEBP"),
    "lossless webp": saved("WEBP", lossless=True),
    "tif": saved("TIFF"),
    "packed tif": photos.tiff(photos.noise(160, 120, 3)),
    "heic": saved("HEIF"),
    "avif": saved("AVIF"),
    "jxl": images.jxl(noise()),
    "jxl container": images.jxl(noise(), usecontainer=True),
    "psd": photos.psd(photos.noise(160, 120, 3)),
    "packed psd": photos.psd(photos.noise(160, 120, 3), packed=True),
    "mp4": movie(),
    "apng": pages("PNG"),
    "animated gif": pages("GIF", "P"),
    "animated webp": pages("WEBP", lossless=True),
    "animated avif": pages("AVIF"),
    "multipage tif": pages("TIFF"),
    "animated jxl": jxl_animation(),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_file_is_not_damaged(damaged, content):
    assert damaged(content) is None


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        ("jpg", 0.5, {"missing": "rows", "total": 120}),
        ("png", 0.5, {"missing": "rows", "total": 120}),
        ("webp", 0.7, {"missing": "rows", "total": 120}),
        ("lossless webp", 0.7, {"missing": "rows", "total": 120}),
        ("gif", 0.5, {"missing": "rows"}),
        ("tif", 0.5, {"missing": "pixels", "total": 160 * 120 * 3}),
        ("psd", 0.5, {"missing": "pixels", "total": 160 * 120 * 3}),
        ("packed psd", 0.8, {"missing": "pixels"}),
        ("progressive jpg", 0.6, {"missing": "scans"}),
        ("mp4", 0.8, {"missing": "samples", "total": 4}),
        ("apng", 0.6, {"missing": "frames", "decoded": 1, "total": 3}),
        ("animated gif", 0.6, {"missing": "frames", "decoded": 1}),
        ("animated webp", 0.6, {"missing": "frames", "decoded": 1}),
        ("animated avif", 0.9, {"missing": "frames", "total": 3}),
        ("animated jxl", 0.6, {"missing": "frames", "decoded": 1}),
    ],
)
def test_what_is_missing_is_reported(damaged, name, part, expected):
    content = WHOLE[name]
    found = damaged(content[: int(len(content) * part)])
    assert expected.items() <= found.items()
    if "total" in found:
        assert 0 < found["decoded"] < found["total"]
        assert found["decoded"] / found["total"] == pytest.approx(part, abs=0.35)


HEADERS = {
    "jpg": lambda content: content[: content.index(b"\xff\xda") + 14],
    "jpg that ends at once": lambda content: content[: content.index(b"\xff\xda") + 14] + b"\xff\xd9",
    "png": lambda content: content[: content.index(b"IDAT") - 4],
    "png with an empty IDAT": lambda content: (
        content[: content.index(b"IDAT") - 4] + bytes(4) + b"IDAT\x35\xaf\x06\x1e"
    ),
    "gif": lambda content: content[: content.index(b",\0\0\0\0\xa0\0") + 11],
    "gif without a frame": lambda content: content[:781] + b";",
    "webp": lambda content: content[:30],
    "webp with an empty frame": lambda content: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x9f\0\0\x77\0\0",
    "tif": lambda content: content[: -160 * 120 * 3],
    "heic": lambda content: content[: content.index(b"mdat") + 4],
    "avif": lambda content: content[: content.index(b"mdat") + 4],
    "jxl": lambda content: content[:20],
    "jxl container": lambda content: content[:60],
    "psd": lambda content: content[:40],
    "mp4": lambda content: content[: content.index(b"mdat") - 4],
    "mp4 without moov": lambda content: content[:20] + content[content.index(b"mdat") - 4 :],
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_file_of_which_nothing_can_be_decoded_is_refused(damaged, name):
    format = next(format for format in sorted(WHOLE, key=len, reverse=True) if name.startswith(format))
    with pytest.raises(UnreadableImage):
        damaged(HEADERS[name](WHOLE[format]))


def test_a_jpeg_that_lacks_nothing_but_its_end_is_whole(damaged):
    assert damaged(WHOLE["jpg"][:-2]) is None


def test_what_a_program_has_put_behind_the_image_does_not_matter(damaged):
    for name, content in WHOLE.items():
        assert damaged(content + b"\0" * 5000) is None, name
        assert damaged(content + b"MotionPhoto_Data" * 999) is None, name


def test_a_tiff_whose_chain_of_pages_leads_nowhere_keeps_those_that_there_are(damaged):
    content = bytearray(WHOLE["tif"])
    first = int.from_bytes(content[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    content[end : end + 4] = (10**9).to_bytes(4, "little")
    assert damaged(bytes(content)) == {"missing": "pages", "decoded": 1}


def test_a_strip_that_claims_to_be_longer_than_the_file_is_whole_if_its_pixels_are_there(damaged):
    content = bytearray(WHOLE["tif"])
    at = content.index((279).to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")) + 8
    content[at : at + 4] = (160 * 120 * 3 + 999).to_bytes(4, "little")
    assert damaged(bytes(content)) is None


def test_a_container_that_lacks_something_behind_the_image_is_reported_so(damaged):
    content = WHOLE["jxl container"] + box(b"Exif", bytes(400))
    assert damaged(content) is None
    assert damaged(content[:-100]) == {"missing": "end"}


def test_an_interlaced_png_that_is_cut_off(damaged):
    raw = zlib.compress(bytes(216))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 1))
    assert damaged(head + chunk(b"IDAT", raw) + chunk(b"IEND", b"")) == {
        "missing": "pixels", "decoded": 216, "total": 3132,
    }  # fmt: skip


def chunk(type, content):
    return struct.pack(">I", len(content)) + type + content + struct.pack(">I", zlib.crc32(type + content))


def test_a_photoshop_file_without_its_merged_image_still_has_its_layers(damaged):
    layers = struct.pack(">Ih", 8, 1) + bytes(6)
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 8, 8, 8, 3) + bytes(8)
    assert damaged(head + struct.pack(">I", len(layers)) + layers) == {"missing": "merged image"}


def test_a_heic_of_tiles_that_is_cut_off(damaged, corpus):
    content = (corpus / "images" / "heic" / "irot-270-grid-phone.heic").read_bytes()
    found = damaged(content[: len(content) * 2 // 3])
    assert found["missing"] == "tiles"
    assert found["decoded"] / found["total"] == pytest.approx(2 / 3, abs=0.1)


def test_a_video_whose_tables_are_cut_off_is_refused(damaged):
    content = WHOLE["mp4"]
    start, data = content.index(b"moov") - 4, content.index(b"mdat") - 4
    swapped = content[:start] + content[data:] + content[start:data]
    assert damaged(swapped) is None
    with pytest.raises(UnreadableImage):
        damaged(swapped[:-30])


def test_a_tiff_whose_last_page_is_cut_off(damaged):
    assert damaged(WHOLE["multipage tif"][:-20]) == {"missing": "pages", "decoded": 2, "total": 3}


# Stored, searched, shown, refused


@pytest.mark.usefixtures("consistent")
def test_a_damaged_image_is_stored_and_found(acme, alice):
    cut = WHOLE["jpg"][: len(WHOLE["jpg"]) // 2]
    item = alice.upload(acme, cut).json()["items"][0]
    assert item["static_metadata"]["damaged"]["missing"] == "rows"
    alice.upload(acme, images.png())
    found = alice.api.get("/sourceimages/acme?static:str:damaged:missing=rows").json()
    assert [one["hash"] for one in found["items"]] == [item["hash"]]


@pytest.mark.usefixtures("consistent")
def test_nothing_of_a_refused_file_is_left(acme, alice):
    answer = alice.upload(acme, HEADERS["jpg"](WHOLE["jpg"]))
    assert (answer.status_code, answer.json()["reason"]) == (400, "unreadable_image")
    assert (acme.images.count(), StoredFile.objects.count()) == (0, 0)


@pytest.mark.usefixtures("consistent")
def test_a_setting_refuses_what_is_damaged(acme, alice, settings):
    settings.REFUSE_DAMAGED_FILES = True
    cut = WHOLE["png"][: len(WHOLE["png"]) // 2]
    answer = alice.upload(acme, cut)
    assert (answer.status_code, answer.json()["reason"]) == (400, "unreadable_image")
    assert "rows" in answer.json()["error"]["message"]
    assert StoredFile.objects.count() == 0
    assert alice.upload(acme, WHOLE["png"]).status_code == 200


def test_heic_without_a_decoder_is_not_called_unreadable(tmp_path, monkeypatch):
    """Only what its boxes show is known then."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "file"
    path.write_bytes(WHOLE["heic"][:-10])
    assert damage.examine(str(path), "heic", "it is incomplete") == {"damaged": {"missing": "end"}}
