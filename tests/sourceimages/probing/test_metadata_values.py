"""What values in metadata mean: the ends of texts, what is not known, where XMP is kept, frames and pages."""

import gzip
import re
import struct
import zlib

import pillow_heif
import pytest
from PIL import ExifTags, Image

from sourceimages import probing
from tests.support import images, photos, tiffs

pytestmark = pytest.mark.any_database

pillow_heif.register_heif_opener()

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
BODY = (
    '<rdf:Description rdf:about="" dc:source="a camera"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbor</rdf:li>'
    "</rdf:Alt></dc:title></rdf:Description>"
)
META = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>{BODY}</rdf:RDF></x:xmpmeta>'
PACKET = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{META}<?xpacket end="w"?>'.encode()
FIELDS = {"source": "a camera", "title": "Harbor"}


def picture(mode="RGB", size=(40, 30)):
    return Image.effect_noise(size, 60).convert(mode)


def box(type, content):
    return struct.pack(">I", len(content) + 8) + type + content


# --- EXIF -------------------------------------------------------------------------------------------------------------


def with_tags(tags, *, order="<"):
    """A JPEG with these tags of EXIF, byte for byte."""
    block = b"Exif\0\0" + tiffs.build(tags, order=order)
    content = images.jpeg(16, 16)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


@pytest.mark.parametrize(
    ("tag", "value", "name", "expected"),
    [
        (315, "Ada\0Bob", "artist", "Ada"),
        (270, "a\0 rest of another text", "image_description", "a"),
        (33432, "Ada", "copyright", "Ada"),
        (33432, "Ada\0Bob", "copyright", "Ada; Bob"),
        (33432, " \0Bob", "copyright", "Bob"),
        (33432, "Ada\0 ", "copyright", "Ada"),
        (33432, "Ada\0Bob\0Cy", "copyright", "Ada; Bob"),
        (33432, " ", "copyright", None),
        (270, "   ", "image_description", None),
        (306, "    :  :     :  :  ", "date_time", None),
        (306, "0000:00:00 00:00:00", "date_time", None),
        (306, "                   ", "date_time", None),
        (306, "2024:03:05 09:30:00", "date_time", "2024:03:05 09:30:00"),
        (305, "000", "software", "000"),
    ],
)
def test_texts(described, tag, value, name, expected):
    assert described(with_tags({tag: value, 271: "Camera"}))["exif"].get(name) == expected


@pytest.mark.parametrize(
    ("tag", "value", "name", "expected"),
    [
        (36867, "    :  :     :  :  ", "date_time_original", None),
        (36881, "   :  ", "offset_time_original", None),
        (36881, "+02:00", "offset_time_original", "+02:00"),
        (37384, 0, "light_source", None),
        (37384, 1, "light_source", 1),
        (37383, 0, "metering_mode", None),
        (41989, 0, "focal_length_in35mm_film", None),
        (37385, 0, "flash", 0),
    ],
)
def test_ways_to_say_unknown(described, tag, value, name, expected):
    groups = described(with_tags({271: "Camera", 34665: [{tag: value, 36864: b"0232"}]}))
    assert groups["exif"].get(name) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(47, 1), (30, 1), (36, 1)], 47.51),
        ([(47, 1), (30, 1), (0, 0)], 47.5),
        ([(47, 1), (0, 0), (0, 0)], 47.0),
        ([(47, 1), (0, 0), (36, 1)], 47.0),
        ([(0, 0), (30, 1), (36, 1)], None),
        ([(91, 1), (0, 1), (0, 1)], None),
    ],
)
def test_undefined_seconds_leave_degrees_and_minutes(described, parts, expected):
    exif = Image.Exif()
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLongitudeRef] = "N", "W"
    place[ExifTags.GPS.GPSLatitude] = (7.0, 7.5, 7.25)
    place[ExifTags.GPS.GPSLongitude] = (8.0, 30.0, 0.0)
    content = images.encoded(picture(), "JPEG", exif=exif.tobytes())
    orders = [mark for mark in (b"II*\0", b"MM\0*") if mark in content]
    order = "<" if orders == [b"II*\0"] else ">"
    old = b"".join(struct.pack(f"{order}II", *pair) for pair in [(7, 1), (15, 2), (29, 4)])
    new = b"".join(struct.pack(f"{order}II", *pair) for pair in parts)
    assert content.count(old) == 1
    location = described(content.replace(old, new)).get("location", {})
    assert location.get("latitude") == expected
    assert location.get("longitude") == (None if expected is None else -8.5)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "HEIF"])
def test_an_orientation_that_only_xmp_has_is_none_of_exif(described, format):
    packet = PACKET.replace(
        b'dc:source="a camera"', b'dc:source="a camera" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
    )
    groups = described(images.encoded(picture(size=(64, 48)), format, xmp=packet))
    assert "orientation" not in groups.get("exif", {})


def test_the_turn_of_an_avif_is_no_orientation_of_exif(described):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = images.encoded(picture(), "AVIF", exif=exif.tobytes())  # Pillow writes a turn of its own
    assert b"irot" in content
    assert "orientation" not in described(content.replace(b"Exif", b"none")).get("exif", {})


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_the_orientation_of_exif_is_reported_as_it_is_in_the_file(described, format):
    exif = Image.Exif()
    exif[ExifTags.Base.ResolutionUnit] = 3  # no writer takes it for a turn
    content = images.encoded(picture(size=(64, 48)), format, exif=exif.tobytes())
    patched = re.sub(rb"(?:\x01\x28(?=\0\x03)|\x28\x01(?=\x03\0))", lambda tag: bytes(
        {0x28: 0x12}.get(byte, byte) for byte in tag[0]
    ), content)  # fmt: skip
    assert patched != content
    groups = described(patched)
    assert groups["exif"] == {"orientation": 3}


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_exif_xmp_and_profile_of_heif(described, format):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    options = {"exif": exif.tobytes(), "xmp": PACKET, "icc_profile": photos.SRGB}
    groups = described(images.encoded(picture(size=(64, 48)), format, **options))
    assert groups["exif"]["make"] == "Camera"
    assert groups["xmp"] == FIELDS
    assert groups["icc"] == {"description": "sRGB built-in", "color_space": "RGB"}


# --- XMP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        (b'dc:source="a camera"', b'dc:source="a camera" odd:source="x"'),
        (b"<dc:title>", b"<odd:name>x</odd:name><dc:title>"),
        (b"<dc:title>", b"<odd:name><rdf:Bag><rdf:li odd:a='1'>x</rdf:li></rdf:Bag></odd:name><dc:title>"),
    ],
)
def test_an_undeclared_prefix_loses_its_property_alone(described, change):
    assert described(images.encoded(picture(), "JPEG", xmp=PACKET.replace(*change)))["xmp"] == FIELDS


def test_a_prefix_that_is_declared_further_inside_keeps_its_meaning(described):
    packet = PACKET.replace(b"<dc:title>", b'<m:mood xmlns:m="urn:m">calm</m:mood><odd:name>x</odd:name><dc:title>')
    assert described(images.encoded(picture(), "JPEG", xmp=packet))["xmp"] == FIELDS | {"mood": "calm"}


def test_xmp_of_a_gif(described):
    content = images.encoded(picture("P"), "GIF")
    end = content.index(b",\0\0\0\0")
    start = content.rindex(b"!\xf9", 0, end) if b"!\xf9" in content[:end] else end
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    assert described(content[:start] + b"!\xff\x0bXMP DataXMP" + PACKET + trailer + content[start:])["xmp"] == FIELDS


def pdf(*objects, catalog=""):
    parts = [
        f"1 0 obj\n<< /Type /Catalog /Pages 2 0 R {catalog} >>\nendobj\n".encode(),
        b"2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n",
        b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] >>\nendobj\n",
        *objects,
    ]
    data, places = b"%PDF-1.6\n", []
    for part in parts:
        places.append(len(data))
        data += part
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(parts) + 1, len(data))
    return data + head + table + end


def stream(number, content, more=b""):
    head = b"%d 0 obj\n<< /Type /Metadata /Subtype /XML /Length %d %b >>\nstream\n" % (number, len(content), more)
    return head + content + b"\nendstream\nendobj\n"


OTHER = PACKET.replace(b"Harbor", b"Logo")


@pytest.mark.parametrize(
    "content",
    [
        pdf(stream(4, PACKET), stream(5, OTHER), catalog="/Metadata 4 0 R"),
        pdf(stream(4, OTHER), stream(5, PACKET), catalog="/Metadata 5 0 R"),
        pdf(stream(4, zlib.compress(PACKET), b"/Filter /FlateDecode"), catalog="/Metadata 4 0 R"),
    ],
)
def test_xmp_of_a_pdf_is_that_of_the_document(described, content):
    groups = described(content)
    assert (groups["xmp"], groups["pdf"]) == (FIELDS, {"pages": 1})


def test_xmp_of_an_eps_is_that_of_the_drawing(described):
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 80\n%begin_xml_code\n"
    assert described(head + PACKET + b"\n%end\n" + OTHER + b"\nshowpage")["xmp"] == FIELDS


SVG = f'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="8"><metadata>{META}</metadata><rect/></svg>'.encode()


@pytest.mark.parametrize(
    "content",
    [
        SVG,
        gzip.compress(SVG, mtime=0),
        SVG.decode().encode("utf-16"),
        SVG.replace(b"<metadata", b"<rect/><metadata id='m'").replace(b"xmlns=", b"xmlns:s='urn:s' xmlns="),
        SVG.replace(b"<svg ", f"<svg {RDF} ".encode()).replace(META.encode(), f"<rdf:RDF>{BODY}</rdf:RDF>".encode()),
        SVG[: SVG.index(b"<rect")],
    ],
)
def test_xmp_of_an_svg(described, content):
    assert described(content)["xmp"] == FIELDS


def test_metadata_as_drawing_programs_write_it(described):
    work = '<cc:Work xmlns:cc="http://creativecommons.org/ns#" rdf:about=""><dc:title>Harbor</dc:title></cc:Work>'
    assert described(SVG.replace(BODY.encode(), work.encode()))["xmp"] == {"title": "Harbor"}


def test_entities_in_the_metadata_of_an_svg_cost_nothing(described):
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 20}">' for before, name in zip("abcdef", "bcdefg", strict=True)
    )
    assert "xmp" not in described(f"<!DOCTYPE svg [{entities}]>".encode() + SVG.replace(b"Harbor", b"&g;"))


# --- Frames, pages, films ---------------------------------------------------------------------------------------------


def test_frames_and_seconds_of_a_jpeg_xl(described):
    found = described(images.jxl([picture() for _ in range(4)], lossless=True))["animation"]
    assert found["frames"] == 4
    assert found["duration"] > 0


@pytest.mark.parametrize("duration", [200, 40])
def test_frames_and_seconds_of_an_avif_sequence(described, duration):
    pages = [picture() for _ in range(3)]
    content = images.encoded(pages[0], "AVIF", save_all=True, append_images=pages[1:], duration=duration)
    assert described(content)["animation"] == {"frames": 3, "duration": round(3 * duration / 1000, 3)}


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}])
def test_pages_of_a_tiff(described, options):
    pages = [picture() for _ in range(70)]
    content = images.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)
    assert described(content)["tiff"] == {"pages": 70}


def test_pages_of_a_tiff_that_pillow_does_not_read(described):
    page = tiffs.pixels(16, 12)
    assert described(tiffs.build(page | {258: (7,)}, page))["tiff"] == {"pages": 2}


MATRICES = {
    (1, 0, 0, 1): (320, 240),
    (0, 1, -1, 0): (240, 320),
    (-1, 0, 0, -1): (320, 240),
    (0, -1, 1, 0): (240, 320),
}


@pytest.mark.parametrize(("matrix", "size"), MATRICES.items())
def test_the_size_of_a_film_is_the_one_that_is_shown(described, matrix, size):
    a, b, c, d = (number << 16 for number in matrix)
    head = bytes(40) + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + struct.pack(">II", 320 << 16, 240 << 16)
    film = box(b"ftyp", b"mp42\0\0\0\0mp42") + box(b"moov", box(b"trak", box(b"tkhd", head))) + box(b"mdat", bytes(9))
    assert described(film)["video"] == {"width": size[0], "height": size[1]}


# --- The right answers for files from outside -------------------------------------------------------------------------

ANSWERS = {
    "exif-nul.jpg": ("exif", {"copyright": "photog; editor", "image_description": "a"}),
    "gps-seconds-0-over-0.jpg": ("location", {"latitude": -47.5, "longitude": -8.5}),
    "exif-unknown-dates.jpg": ("exif", {"date_time_digitized": None, "offset_time_original": None}),
    "xmp-undeclared-prefix.jpg": ("xmp", {"title": "Titel"}),
    "anim.jxl": ("animation", {"frames": 4, "duration": 0.4}),
    "exiftool-Photoshop.psd": ("iptc", {"byline": "Phil Harvey", "caption": "This is a teeny weeny white square"}),
    "rotated90.mp4": ("video", {"width": 240, "height": 320}),
    "truncated.jpg": ("damaged", {"missing": "rows"}),
    "irot-no-exif.avif": ("exif", {"orientation": None}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_files_from_outside(described, corpus, name):
    path = corpus / "field" / name
    if not path.exists():
        pytest.skip(f"TEST_CORPUS has no field/{name}")
    group, expected = ANSWERS[name]
    found = described(path.read_bytes()).get(group, {})
    assert {key: found.get(key) for key in expected} == expected


SIZES = {
    "text-first.pdf": ("pdf", 600, 800),
    "plain.pdf": ("pdf", 600, 800),
    "irot-no-exif.avif": ("avif", 80, 120),
    "camera.dng": ("dng", 120, 80),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_files_from_outside(corpus, name):
    path = corpus / "field" / name
    if not path.exists():
        pytest.skip(f"TEST_CORPUS has no field/{name}")
    probe = probing.probe(path)
    assert (probe.format, probe.width, probe.height) == SIZES[name]
