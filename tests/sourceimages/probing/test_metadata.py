"""What files tell of themselves: `static_metadata`."""

import io
import json
import struct
import zlib

import pypdfium2
import pytest
import pyvips
from PIL import ExifTags, Image

from sourceimages import operations, probing, tasks
from sourceimages.models import StoredFile
from tests.conftest import consistency_errors
from tests.support import images, photos
from tests.support.storage import lose

pytestmark = pytest.mark.any_database

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  xmp:CreatorTool="A tool" xmp:Rating="4">
  <dc:title><rdf:Alt>
    <rdf:li xml:lang="de">Hafen</rdf:li><rdf:li xml:lang="x-default">Harbour</rdf:li>
  </rdf:Alt></dc:title>
  <dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>lake</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
XMP_FIELDS = {"creator_tool": "A tool", "rating": "4", "title": "Harbour", "subject": ["boat", "lake"]}


def exif():
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Camera & Sons"
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Artist] = "J\u00fcrg\0\0".encode()
    details = tags.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExposureTime] = 0.008
    details[ExifTags.Base.ISOSpeedRatings] = 200
    details[ExifTags.Base.DateTimeOriginal] = "2024:03:05 09:30:00"
    details[ExifTags.Base.MakerNote] = b"secret of the maker"
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "S", (47.0, 30.0, 36.0)
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "E", (8.0, 15.0, 0.0)
    place[ExifTags.GPS.GPSAltitude] = 408.5
    return tags


EXIF_FIELDS = {
    "make": "Camera & Sons",
    "orientation": 6,
    "artist": "J\u00fcrg",
    "exposure_time": 0.008,
    "iso_speed_ratings": 200,
    "date_time_original": "2024:03:05 09:30:00",
}
PLACE = {"latitude": -47.51, "longitude": 8.25, "altitude": 408.5}


def picture():
    return Image.new("RGB", (40, 30), (200, 30, 30))


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
def test_exif_and_place_and_profile(described, format):
    groups = described(images.encoded(picture(), format, exif=exif().tobytes(), icc_profile=photos.SRGB))
    wanted = dict(EXIF_FIELDS)
    if format in ("TIFF", "AVIF"):
        del wanted["artist"]  # there Pillow writes ASCII only
    if format == "AVIF":
        wanted["orientation"] = None  # Pillow takes it out of EXIF, and writes a turn of the format itself
    assert {name: groups["exif"].get(name) for name in wanted} == wanted
    assert groups["location"] == PLACE
    assert groups["icc"] == {"description": "sRGB built-in", "color_space": "RGB"}
    assert "maker" not in json.dumps(groups)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_xmp(described, format):
    assert described(images.encoded(picture(), format, xmp=XMP.encode()))["xmp"] == XMP_FIELDS


def png_with(*chunks):
    """A PNG with these chunks behind its pixels, where readers that stop early do not look."""
    content = images.png(4, 4)
    made = [
        struct.pack(">I", len(data)) + type + data + struct.pack(">I", zlib.crc32(type + data)) for type, data in chunks
    ]
    return content[:-12] + b"".join(made) + content[-12:]


def test_what_stands_behind_the_pixels_of_a_png(described):
    content = png_with((b"eXIf", exif().tobytes()[6:]), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()))
    groups = described(content)
    assert groups["exif"]["make"] == "Camera & Sons"
    assert groups["xmp"] == XMP_FIELDS


def test_iptc(described):
    fields = {5: b"Harbour", 80: "J\u00fcrg".encode(), 90: "Gen\u00e8ve".encode("cp1252")}
    records = b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in fields.items())
    records += b"".join(b"\x1c\x02\x19" + struct.pack(">H", len(word)) + word for word in (b"boat", b"lake"))
    block = b"Photoshop 3.0\0" + photos.resource(0x404, records)
    content = images.jpeg(16, 16)
    content = content[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + content[2:]
    assert described(content)["iptc"] == {
        "title": "Harbour", "byline": "J\u00fcrg", "city": "Gen\u00e8ve", "keywords": ["boat", "lake"],
    }  # fmt: skip


@pytest.fixture
def coloured(tmp_path):
    def look(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return probing.dominant_colors(path, probing.probe(path).format)

    return look


def test_dominant_colors_come_most_frequent_first(coloured):
    image = Image.new("RGB", (400, 300), (200, 30, 30))
    image.paste((10, 20, 200), (0, 0, 400, 90))
    for content in (images.encoded(image, "PNG"), images.encoded(image, "TIFF"), images.encoded(image, "GIF")):
        assert coloured(content) == ["#c81e1e", "#0a14c8"]


def frames(format, **options):
    pages = [Image.new("RGB", (8, 8), (40 * number, 0, 0)) for number in range(3)]
    return images.encoded(pages[0], format, save_all=True, append_images=pages[1:], **options)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_frames_and_seconds_of_animations(described, format):
    assert described(frames(format, duration=200))["animation"] == {"frames": 3, "duration": 0.6}


def test_frames_of_an_avif_sequence(described):
    assert described(frames("AVIF", duration=200))["animation"]["frames"] == 3


def test_pages(described):
    assert described(photos.multipage())["tiff"]["pages"] == 2
    document = pypdfium2.PdfDocument.new()
    for _ in range(3):
        document.new_page(200, 100)
    file = io.BytesIO()
    document.save(file)
    assert described(file.getvalue())["pdf"]["pages"] == 3


def box(type, content):
    return struct.pack(">I", len(content) + 8) + type + content


def test_seconds_and_size_of_a_film(described):
    header = box(b"mvhd", struct.pack(">12xII8x", 600, 1500) + bytes(68))
    track = box(b"trak", box(b"tkhd", bytes(76) + struct.pack(">II", 320 << 16, 240 << 16)))
    film = box(b"ftyp", b"mp42\0\0\0\0mp42") + box(b"moov", header + track) + box(b"mdat", bytes(9))
    assert described(film)["video"] == {"duration": 2.5, "width": 320, "height": 240}


def test_what_photoshop_says(described):
    resources = photos.resource(1060, XMP.encode()) + photos.resource(1058, exif().tobytes()[6:])
    groups = described(photos.psd(photos.noise(10, 8, 3), resources=resources))
    assert groups["xmp"] == XMP_FIELDS
    assert groups["exif"]["make"] == "Camera & Sons"


def test_too_much_of_it_is_left_out(described):
    words = "".join(f"<rdf:li>{'word' * 200} {number}</rdf:li>" for number in range(30))
    long = XMP.replace("<rdf:li>boat</rdf:li><rdf:li>lake</rdf:li>", words)
    fat = long.replace(
        "</rdf:Description>", "".join(f"<dc:x{n}>{'y' * 999}</dc:x{n}>" for n in range(30)) + "</rdf:Description>"
    )
    groups = described(images.encoded(picture(), "JPEG", xmp=fat.encode(), exif=exif().tobytes()))
    assert "xmp" not in groups
    assert groups["exif"]["make"] == "Camera & Sons"


@pytest.mark.parametrize(
    "packet",
    [
        b"<x",
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
        b"\xff\xfe\0",
    ],
)
def test_what_makes_no_sense_is_left_out(described, packet):
    groups = described(images.encoded(picture(), "JPEG", xmp=packet, exif=exif().tobytes()))
    assert "xmp" not in groups
    assert groups["exif"]["make"] == "Camera & Sons"


def test_it_is_in_the_answers_and_goes_along_with_a_copy(acme, alice, stage):
    item = alice.upload(acme, images.encoded(picture(), "JPEG", exif=exif().tobytes())).json()["items"][0]
    assert item["static_metadata"]["exif"]["make"] == "Camera & Sons"
    assert alice.api.get(item["link"]).json()["static_metadata"] == item["static_metadata"]
    alice.api.generic("COPY", item["link"], headers={"Destination": "stage"})
    copied = alice.api.get(item["link"].replace("acme", "stage")).json()
    assert copied["static_metadata"] == item["static_metadata"]


def test_colors_come_later_and_once(acme, alice):
    item = alice.upload(acme, images.encoded(picture(), "PNG")).json()["items"][0]
    assert "color" not in item["static_metadata"]
    (waiting,) = operations.files_without_colors()
    tasks.extract_colors()
    assert alice.api.get(item["link"]).json()["static_metadata"]["color"] == {"dominant": ["#c81e1e"]}
    assert operations.files_without_colors() == []
    assert operations.extract_colors(waiting) is False
    assert consistency_errors() == []


def test_a_missing_file_blocks_no_other(acme, alice):
    for seed in range(2):
        alice.upload(acme, images.png(40, 30, seed=seed))
    first, second = StoredFile.objects.order_by("id")
    lose(first.key)
    tasks.extract_colors()
    assert operations.files_without_colors() == []
    second.refresh_from_db()
    assert second.static_metadata["color"]["dominant"]


def test_what_has_no_colors_is_asked_once(acme, alice):
    alice.upload(acme, images.svg(), name="a.svg")
    assert operations.files_without_colors() == []
    broken = images.encoded(picture(), "PNG")
    alice.upload(acme, broken[:60] + bytes(10) + broken[70:])
    tasks.extract_colors()
    assert operations.files_without_colors() == []


def test_large_jpegs_are_not_decoded_whole_for_their_colors(coloured):
    image = pyvips.Image.black(9000, 7000).new_from_image([200, 30, 30])
    content = bytes(image.cast("uchar").copy(interpretation="srgb").jpegsave_buffer(Q=50))
    (colour,) = coloured(content)
    assert max(abs(int(colour[at : at + 2], 16) - wanted) for at, wanted in ((1, 200), (3, 30), (5, 30))) <= 3
