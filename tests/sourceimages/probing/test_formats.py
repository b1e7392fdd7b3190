"""Files drawn on the spot, and and their probe() results."""

import gzip
import io
import struct
import zipfile
import zlib
from itertools import pairwise

import pillow_heif
import pytest
from PIL import Image

from sourceimages.errors import FormatNotAllowed, TooManyPixels, UnreadableImage
from sourceimages.probing import Probe, probe
from tests.support import images

pytestmark = pytest.mark.any_database

pillow_heif.register_heif_opener()


@pytest.fixture
def told(tmp_path):
    """The probe() result for this content, under a neutral file name."""

    def tell(data: bytes) -> Probe:
        path = tmp_path / "file"
        path.write_bytes(data)
        return probe(path)

    return tell


def picture(mode="RGB", size=(40, 30), color=None):
    return Image.new(mode, size, {"RGB": (9, 99, 200), "RGBA": (9, 99, 200, 255)}.get(mode) if color is None else color)


def half_transparent(size=(40, 30)):
    image = picture("RGBA", size)
    image.paste((0, 0, 0, 128), (0, 0, size[0] // 2, size[1]))
    return image


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def sideways():
    """EXIF that rotates the image by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def chunk(type, content):
    return struct.pack(">I", len(content)) + type + content + struct.pack(">I", zlib.crc32(type + content))


def png_header(width, height, colour=2):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))


def png_pixels(width, height, channels=3):
    return chunk(b"IDAT", zlib.compress(bytes((1 + width * channels) * height))) + chunk(b"IEND", b"")


def facts(format, width=40, height=30, opaque=True, animated=False, mimetype=None):
    return Probe(format, mimetype or f"image/{format}", width, height, opaque, animated)


TRANSPARENT_GIF = saved(half_transparent().convert("P"), "GIF", transparency=0)


def other():
    return picture(color=(1, 2, 3))


# What can be drawn


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(picture(), "PNG"), facts("png")),
        (saved(picture("RGBA"), "PNG"), facts("png")),
        (saved(half_transparent(), "PNG"), facts("png", opaque=False)),
        (saved(picture("L", color=7), "PNG", transparency=7), facts("png", opaque=False)),
        (saved(picture("L", color=7), "PNG", transparency=8), facts("png")),
        (saved(picture(), "PNG", save_all=True, append_images=[other()]), facts("png", animated=True)),
        (saved(picture("RGBA"), "PNG", save_all=True, append_images=[half_transparent()], blend=0),
         facts("png", opaque=False, animated=True)),
        (saved(picture(), "JPEG"), facts("jpg", mimetype="image/jpeg")),
        (saved(picture(), "JPEG", progressive=True, exif=sideways()), facts("jpg", mimetype="image/jpeg")),
        (saved(picture("CMYK"), "JPEG"), facts("jpg", mimetype="image/jpeg")),
        (saved(picture(), "MPO", save_all=True, append_images=[other()]), facts("jpg", mimetype="image/jpeg")),
        (saved(picture(), "GIF"), facts("gif")),
        (TRANSPARENT_GIF, facts("gif", opaque=False)),
        (saved(picture(), "GIF", save_all=True, append_images=[other()]), facts("gif", animated=True)),
        (saved(picture(), "WEBP"), facts("webp")),
        (saved(picture(), "WEBP", lossless=True), facts("webp")),
        (saved(picture(), "WEBP", exif=sideways()), facts("webp")),
        (saved(half_transparent(), "WEBP"), facts("webp", opaque=False)),
        (saved(half_transparent(), "WEBP", lossless=True), facts("webp", opaque=False)),
        (saved(picture("RGBA"), "WEBP", lossless=True, exact=True), facts("webp")),
        (saved(picture(), "WEBP", save_all=True, append_images=[other()]), facts("webp", animated=True)),
        (saved(half_transparent(), "WEBP", save_all=True, append_images=[picture("RGBA")]),
         facts("webp", opaque=False, animated=True)),
        (saved(picture(), "AVIF"), facts("avif")),
        (saved(half_transparent(), "AVIF"), facts("avif", opaque=False)),
        (saved(picture("RGBA"), "AVIF"), facts("avif")),
        (saved(picture(), "AVIF", exif=sideways()), facts("avif", 30, 40)),  # Pillow writes it as a turn of its own
        (saved(picture(), "AVIF", save_all=True, append_images=[other()]), facts("avif", animated=True)),
        (saved(half_transparent(), "AVIF", save_all=True, append_images=[picture("RGBA")]),
         facts("avif", opaque=False, animated=True)),
        (saved(picture(size=(64, 48)), "HEIF"), facts("heic", 64, 48)),
        (saved(half_transparent((64, 48)), "HEIF"), facts("heic", 64, 48, opaque=False)),
        (saved(picture("RGBA", (64, 48)), "HEIF"), facts("heic", 64, 48)),
        (saved(picture(size=(64, 48)), "HEIF", save_all=True, append_images=[other()]), facts("heic", 64, 48)),
        (images.jxl(picture()), facts("jxl")),
        (images.jxl(picture(size=(640, 480)), usecontainer=True), facts("jxl", 640, 480)),
        (images.jxl(half_transparent()), facts("jxl", opaque=False)),
        (images.jxl(picture("RGBA", (51, 300)), lossless=True), facts("jxl", 51, 300)),
        (saved(picture(), "TIFF"), facts("tif", mimetype="image/tiff")),
        (saved(picture(), "TIFF", exif=sideways()), facts("tif", mimetype="image/tiff")),
        (saved(picture("RGBA"), "TIFF", compression="tiff_lzw"), facts("tif", mimetype="image/tiff")),
        (saved(half_transparent(), "TIFF"), facts("tif", opaque=False, mimetype="image/tiff")),
        (saved(half_transparent(), "TIFF", big_tiff=True), facts("tif", opaque=False, mimetype="image/tiff")),
        (saved(picture(), "TIFF", save_all=True, append_images=[other()]), facts("tif", mimetype="image/tiff")),
    ],
)  # fmt: skip
def test_images(told, data, expected):
    assert told(data) == expected


# PNG


def test_a_png_with_the_count_of_one_frame_is_not_animated(told):
    data = png_header(40, 30) + chunk(b"acTL", struct.pack(">II", 1, 0)) + png_pixels(40, 30)
    assert told(data) == facts("png")


def test_a_png_animation_that_clears_a_part_of_its_canvas_is_not_opaque(told):
    def frame(width, height, afterwards):
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, afterwards, 0))

    start = png_header(40, 30) + chunk(b"acTL", struct.pack(">II", 2, 0))
    pixels = png_pixels(40, 30)[:-12]
    more = chunk(b"fdAT", bytes(4) + zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    assert told(start + frame(40, 30, 0) + pixels + frame(9, 9, 0) + more).opaque
    assert told(start + frame(40, 30, 1) + pixels + frame(40, 30, 0) + more).opaque
    assert not told(start + frame(40, 30, 1) + pixels + frame(9, 9, 0) + more).opaque


def test_a_text_chunk_that_would_inflate_to_much_is_passed_by(told):
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    assert told(png_header(40, 30) + bomb + png_pixels(40, 30)) == facts("png")


@pytest.mark.parametrize("data", [png_header(0, 5), png_header(5, 5)[:20], png_header(2**31, 1), b"\x89PNG\r\n\x1a\n"])
def test_a_png_without_a_size_is_unreadable(told, data):
    with pytest.raises(UnreadableImage, match="has the signature of the format png"):
        told(data)


# Cut off


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF"])
def test_a_file_whose_pixels_are_cut_off_is_kept_as_not_opaque(told, format):
    noise = Image.effect_noise((40, 30), 80).convert("RGBA")
    noise.putpixel((39, 29), (0, 0, 0, 0))
    whole = saved(noise, format, **({"lossless": True} if format == "WEBP" else {}))
    assert not told(whole[: len(whole) * 2 // 3]).opaque


def test_a_jpeg_that_ends_before_its_size_is_unreadable(told):
    with pytest.raises(UnreadableImage, match="ends too early"):
        told(saved(picture(), "JPEG")[:100])


# GIF and WebP: the canvas


def gif(*frames, screen=(40, 30)):
    """A GIF of frames of (left, top, width, height, afterwards); without pixels, which must not be read."""
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0, 0, 0)
    for left, top, width, height, afterwards in frames:
        data += b"!\xf9\x04" + bytes([afterwards << 2, 0, 0, 0, 0])
        data += b"," + struct.pack("<4HB", left, top, width, height, 0) + b"\x02\x02\x4c\x01\0"
    return data + b";"


@pytest.mark.parametrize(
    ("frames", "opaque"),
    [
        ([(0, 0, 40, 30, 0)], True),
        ([(0, 0, 39, 30, 0)], False),
        ([(0, 0, 40, 30, 1), (5, 5, 2, 2, 0)], True),
        ([(0, 0, 40, 30, 2), (0, 0, 40, 30, 0)], True),
        ([(0, 0, 40, 30, 2), (5, 5, 2, 2, 0)], False),
        ([(0, 0, 40, 30, 1), (5, 5, 9, 9, 2), (6, 6, 2, 2, 0)], False),
        ([(0, 0, 40, 30, 3), (5, 5, 2, 2, 0)], False),
        ([(0, 0, 40, 30, 1), (5, 5, 9, 9, 3), (6, 6, 2, 2, 0)], True),
    ],
)
def test_what_no_frame_covers_is_transparent(told, frames, opaque):
    assert told(gif(*frames)) == facts("gif", opaque=opaque, animated=len(frames) > 1)


def test_a_gif_without_a_screen_is_unreadable(told):
    with pytest.raises(UnreadableImage, match="no size"):
        told(gif((0, 0, 5, 5, 0), screen=(0, 0)))


# Photoshop


def psd(*, channels=4, layers=-1, alpha=b"\xff" * 6, depth=8, large=False, packed=False):
    """Three by two pixels, RGB and perhaps more."""

    def length(content):
        return struct.pack(">Q" if large else ">I", len(content)) + content

    number = struct.pack(">h", layers)
    if depth == 8:
        section = length(number)
    else:
        section = length(b"") + bytes(4) + b"8BIMMt16" + length(b"") + b"8BIMLr16" + length(number)
    planes = [b"\x80" * len(alpha)] * 3 + [alpha] * (channels - 3)
    rows = [plane[start : start + len(plane) // 2] for plane in planes for start in (0, len(plane) // 2)]
    if packed:
        rows = [bytes([257 - len(row), row[0]]) if len(set(row)) == 1 else bytes([len(row) - 1]) + row for row in rows]
        pixels = b"\0\1" + struct.pack(f">{len(rows)}{'I' if large else 'H'}", *map(len, rows)) + b"".join(rows)
    else:
        pixels = b"\0\0" + b"".join(rows)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 2 if large else 1, channels, 2, 3, depth, 3)
    return header + bytes(8) + length(section) + pixels


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("options", "opaque"),
    [
        ({"channels": 3, "layers": 2}, True),
        ({"layers": 2, "alpha": bytes(6)}, True),  # a saved mask
        ({"layers": -1}, True),
        ({"layers": -1, "alpha": b"\xff\xff\xff\xff\x01\xff"}, False),
        ({"layers": -1, "alpha": bytes(6)}, False),
        ({"layers": -1, "alpha": b"\xff" * 12, "depth": 16}, True),
        ({"layers": -1, "alpha": b"\xff" * 11 + b"\0", "depth": 16}, False),
    ],
)
def test_photoshop(told, options, opaque, packed, large):
    data = psd(**options, packed=packed, large=large)
    assert told(data) == facts("psd", 3, 2, opaque=opaque, mimetype="image/vnd.adobe.photoshop")


# SVG


def svg(attributes, before="", encoding="utf-8"):
    return f'{before}<svg xmlns="http://www.w3.org/2000/svg" {attributes}><rect/></svg>'.encode(encoding)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="200" height="100"', (200, 100)),
        ('width=" 20.4px" height="1e2 "', (20, 100)),
        ('width="1in" height="2.54cm"', (96, 96)),
        ('width="210mm" height="72pt"', (794, 96)),
        ('width="2em" height="6pc"', (32, 96)),
        ('viewBox="0 0 64 48"', (64, 48)),
        ('viewBox="-5,-5, 64,48" width="100%" height="100%"', (64, 48)),
        ('viewBox="0 0 64 48" width="128"', (128, 96)),
        ('viewBox="0 0 64 48" height="96" width="auto"', (128, 96)),
        ("", (300, 150)),
        ('width="50%"', (300, 150)),
        ('width="10"', (10, 150)),
        ('width="NaN" height="inf"', (300, 150)),
        ('width="-4" height="0"', (300, 150)),
        ('width="1e999" height="99999999999"', (300, 150)),
        ('viewBox="0 0 1e300 1e300"', (300, 150)),
        ('viewBox="0 0 1 1e-300" height="100"', (300, 100)),
        ('viewBox="0 0 nan 4"', (300, 150)),
        ('viewBox="1 2 3"', (300, 150)),
        ('width="0.2" height="5"', (1, 5)),
        ('width="2147483647" height="2147483648"', (2147483647, 150)),
    ],
)
def test_sizes_of_svg(told, attributes, size):
    assert told(svg(attributes)) == facts("svg", *size, opaque=False, mimetype="image/svg+xml")


@pytest.mark.parametrize(
    "data",
    [
        svg('width="7" height="8"', '<?xml version="1.0" encoding="UTF-16"?>\n', "utf-16"),
        svg('width="7" height="8"', '<?xml version="1.0" encoding="UTF-16LE"?>\n', "utf-16-le"),
        svg('width="7" height="8"', "\n ", "utf-16-be"),
        svg('width="7" height="8"', '<?xml version="1.0" encoding="shift_jis"?><!-- 絵 -->', "shift_jis"),
        svg('width="7" height="8"', '<?xml version="1.0" encoding="windows-1251"?><!-- вид -->', "cp1251"),
        svg('width="7" height="8"', "\n\n<!-- a drawing -->", "utf-8-sig"),
        svg('width="&w;" height="8"', '<!DOCTYPE svg [<!ENTITY w "7">]>'),
        svg('width="7" height="8"', '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://127.0.0.1:9/svg11.dtd">'),
        gzip.compress(svg('width="7" height="8"'), mtime=0),
        b'<s:svg xmlns:s="http://www.w3.org/2000/svg" width="7" height="8"/>',
        svg('width="7" height="8"')[:70],  # read no further than the root tag
    ],
)
def test_spellings_of_svg(told, data):
    assert told(data) == facts("svg", 7, 8, opaque=False, mimetype="image/svg+xml")


def test_entities_that_multiply_within_the_root_tag_are_refused(told):
    entities = '<!ENTITY a "9999999999">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 20}">' for before, name in pairwise("abcdefg")
    )
    with pytest.raises(UnreadableImage):
        told(svg('width="&g;"', f"<!DOCTYPE svg [{entities}]>"))


def test_an_outer_entity_within_the_root_tag_is_not_followed(told):
    with pytest.raises(UnreadableImage):
        told(svg('width="&f;"', '<!DOCTYPE svg [<!ENTITY f SYSTEM "file:///etc/hostname">]>'))


def test_a_compressed_svg_is_inflated_only_as_far_as_its_root_tag_may_be(told):
    with pytest.raises(FormatNotAllowed):
        told(gzip.compress(b" " * 200_000_000 + svg('width="7" height="8"')))


def test_a_broken_svg_is_unreadable(told):
    with pytest.raises(UnreadableImage, match="not well-formed"):
        told(b"<svg width=7>")


# PDF and EPS


def pdf(page="", media_box="[0 0 200 100]"):
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox {media_box} {page} >>",
    ]
    data, places = b"%PDF-1.6\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    return data + b"xref\n0 4\n0000000000 65535 f \n" + table + trailer


@pytest.mark.parametrize(
    ("page", "size"),
    [
        ("", (200, 100)),
        ("/Rotate 90", (100, 200)),
        ("/CropBox [10 10 60.6 60]", (51, 50)),
        ("/UserUnit 2.5", (500, 250)),
        ("/UserUnit 2 /Rotate 270 /CropBox [0 0 50 40]", (80, 100)),
        ("/UserUnit 999999999", (0, 0)),
    ],
)
def test_sizes_of_pdf(told, page, size):
    assert told(pdf(page)) == facts("pdf", *size, opaque=False, mimetype="application/pdf")


BEFORE_A_PDF = [
    b"\xef\xbb\xbf",
    b"\r\n\r\n",
    b"\0\0\0",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n",
    b"From: Ada <ada@example.com>\nSubject: the plan\n\n",
    b"<!-- made by a printer -->\n",
    b"x" * 1019,
]


@pytest.mark.parametrize("before", BEFORE_A_PDF)
def test_a_pdf_may_begin_anywhere_in_the_first_kilobyte(told, before):
    assert told(before + pdf()) == facts("pdf", 200, 100, opaque=False, mimetype="application/pdf")


@pytest.mark.parametrize("before", BEFORE_A_PDF)
def test_a_broken_pdf_is_not_text_whatever_is_before_it(told, before):
    with pytest.raises(UnreadableImage, match="has the signature of the format pdf"):
        told(before + b"%PDF-1.7\n")


def test_an_svg_that_mentions_a_pdf_is_an_svg(told):
    assert told(svg('width="7" height="8" desc="made from %PDF-1.4"')).format == "svg"


@pytest.mark.parametrize("text", [b'head = b"%PDF-1.7\\n"\n', b"Files that begin with `%PDF-1.4` are PDF.\n"])
def test_text_that_mentions_the_header_of_a_pdf_is_text(told, text):
    assert told(text).format == "txt"


def test_text_that_mentions_a_pdf_after_the_first_kilobyte_is_text(told):
    assert told(b"x" * 1020 + b"%PDF-1.7 is a header").format == "txt"


def test_a_pdf_that_cannot_be_opened_is_unreadable(told):
    with pytest.raises(UnreadableImage, match="can't be opened"):
        told(b"%PDF-1.7\n")


def eps(*lines, newline="\n"):
    return newline.join(["%!PS-Adobe-3.0 EPSF-3.0", *lines, "showpage"]).encode()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (eps("%%BoundingBox: 0 0 100 80"), (100, 80)),
        (eps("%%BoundingBox: 0 0 100 80", newline="\r"), (100, 80)),
        (eps("%%BoundingBox: 10.5 -20 100.2 80", "%%BoundingBox: 0 0 1 1"), (91, 100)),
        (eps("%%BoundingBox: (atend)", "% long" * 30_000, "%%BoundingBox: 0 0 1 1", "%%BoundingBox: 0 0 7 8"), (7, 8)),
        (b"\xc5\xd0\xd3\xc6" + struct.pack("<II20x", 40, 90) + b"preview " + eps("%%BoundingBox: 1 1 5 6"), (4, 5)),
    ],
)
def test_sizes_of_eps(told, data, size):
    assert told(data) == facts("eps", *size, opaque=False, mimetype="application/postscript")


@pytest.mark.parametrize(
    "box", ["% none", "%%BoundingBox: 0 0 0 0", "%%BoundingBox: 0 0 9999999999 1", "%%BoundingBox:"]
)
def test_an_eps_without_a_usable_box_is_unreadable(told, box):
    with pytest.raises(UnreadableImage):
        told(eps(box))


# Files without images


def archive(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, content in entries.items():
            zip.writestr(name, content)
    return file.getvalue()


def office_open(kind):
    types = f'<Types><Override ContentType="application/vnd.openxmlformats-officedocument.{kind}.main+xml"/></Types>'
    return archive(**{"[Content_Types].xml": types, "other.xml": "<x/>"})


def compound(stream):
    """An old compound file with one empty stream: a header, a table of sectors, a directory."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIiIiI", 0, 1, 1, 0, 4096, -2, 0, -2, 0) + struct.pack("<109i", 0, *[-1] * 108)
    table = struct.pack("<128i", -3, -2, *[-1] * 126)

    def entry(name, type, child):
        encoded = (name + "\0").encode("utf-16-le")
        return struct.pack("<64sHBBiii36xiQ", encoded, len(encoded), type, 1, -1, -1, child, -2, 0)

    return header + table + entry("Root Entry", 5, 1) + entry(stream, 2, -1) + bytes(256)


def movie(brand, *brands):
    return box(b"ftyp", brand + bytes(4) + b"".join(brands)) + box(b"moov", b"") + box(b"mdat", bytes(64))


def box(type, content):
    return struct.pack(">I", 8 + len(content)) + type + content


OFFICE_OPEN = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize(
    ("data", "format", "mimetype"),
    [
        (office_open("wordprocessingml.document"), "docx", OFFICE_OPEN + "wordprocessingml.document"),
        (office_open("spreadsheetml.sheet"), "xlsx", OFFICE_OPEN + "spreadsheetml.sheet"),
        (office_open("presentationml.presentation"), "pptx", OFFICE_OPEN + "presentationml.presentation"),
        (archive(mimetype="application/vnd.oasis.opendocument.text"), "odt", "application/vnd.oasis.opendocument.text"),
        (archive(mimetype="application/vnd.oasis.opendocument.spreadsheet"), "ods",
         "application/vnd.oasis.opendocument.spreadsheet"),
        (archive(mimetype="application/vnd.oasis.opendocument.presentation"), "odp",
         "application/vnd.oasis.opendocument.presentation"),
        (archive(a="b"), "zip", "application/zip"),
        (archive(), "zip", "application/zip"),
        (compound("WordDocument"), "doc", "application/msword"),
        (compound("Workbook"), "xls", "application/vnd.ms-excel"),
        (compound("PowerPoint Document"), "ppt", "application/vnd.ms-powerpoint"),
        (rb"{\rtf1\ansi Hello}", "rtf", "application/rtf"),
        (b"Hello,\r\nworld\r\n", "txt", "text/plain"),
        ("Grüezi".encode(), "txt", "text/plain"),
        ("Grüezi mitenand".encode("cp1252"), "txt", "text/plain"),
        ("Grüezi".encode("utf-16"), "txt", "text/plain"),
        (("ä" * 2**20).encode(), "txt", "text/plain"),  # the cut falls somewhere
        (b"name;size\n\"a;b\";2\nc;3\n", "csv", "text/csv"),
        (b"a,b\n" * 100_000, "csv", "text/csv"),
        (b"a,b\nc\n", "txt", "text/plain"),
        (movie(b"isom", b"isom", b"avc1"), "mp4", "video/mp4"),
        (movie(b"XXXX", b"mp42"), "mp4", "video/mp4"),
        (movie(b"qt  "), "mov", "video/quicktime"),
        (box(b"wide", b"") + box(b"mdat", bytes(30)) + box(b"moov", b""), "mov", "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + bytes(30), "webm", "video/webm"),
        (b"\0\1\0\0\0\x0c\0\x80\0\x03\0\x40GDEF" + bytes(30), "ttf", "font/ttf"),
        (b"OTTO\0\x0c" + bytes(30), "otf", "font/otf"),
        (b"wOFF\0\1\0\0" + bytes(30), "woff", "font/woff"),
        (b"wOF2\0\1\0\0" + bytes(30), "woff2", "font/woff2"),
    ],
)  # fmt: skip
def test_other_files(told, data, format, mimetype):
    assert told(data) == facts(format, 0, 0, opaque=False, mimetype=mimetype)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89",
        bytes(range(256)) * 16,
        b"<!DOCTYPE html><title>x</title>",
        b"\xef\xbb\xbf \n<html><body><svg width='7' height='8'/></body></html>",
        b"<?xml version='1.0'?><image><read filename='x'/></image>",
        b"<?php phpinfo();",
        b"<?xml version='1.0'?><?php phpinfo(); ?><svg width='7' height='8'/>",
        b"hello <?php phpinfo();",
        b"hello\n<script>alert(1)</script>",
        b"#!/bin/sh\nrm -r /\n",
        b"push graphic-context\nviewbox 0 0 64 48\n",
        b"MZ\x90\0\x03" + bytes(60),
        b"\x7fELF\x02\x01\x01" + bytes(60),
        b"\xcf\xfa\xed\xfe" + bytes(60),
        gzip.compress(b"anything", mtime=0),
        compound("Something"),
        movie(b"M4A ", b"mp42"),
        saved(picture(), "BMP"),
        saved(picture(), "JPEG2000"),
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska" + bytes(30),
        b"\0\1\0\0Standard Jet DB" + bytes(60),
    ],
)
def test_what_is_not_kept(told, data):
    with pytest.raises(FormatNotAllowed):
        told(data)


@pytest.mark.parametrize("data", [b"PK\3\4" + bytes(60), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60)])
def test_a_broken_container_is_unreadable(told, data):
    with pytest.raises(UnreadableImage):
        told(data)


def test_the_bytes_decide_and_not_the_name(tmp_path):
    path = tmp_path / "photo.svg"
    path.write_bytes(saved(picture(), "PNG"))
    assert probe(path).format == "png"


# Too many pixels


@pytest.mark.parametrize(
    "data",
    [
        png_header(60_000, 60_000, colour=6) + chunk(b"IDAT", b""),
        gif((0, 0, 1, 1, 0), screen=(60_000, 60_000)),
        b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 60_000, 60_000, 8, 3) + bytes(20),
    ],
)
def test_too_many_pixels_are_refused_before_any_is_touched(told, data):
    with pytest.raises(TooManyPixels) as refusal:
        told(data)
    assert refusal.value.message == "60000 × 60000 is 3600 megapixels; the limit is 225."
    assert refusal.value.details == {"width": 60_000, "height": 60_000, "limit": 225}


def test_the_limit_itself_is_allowed(told, settings):
    settings.MAX_MEGAPIXELS = 2
    assert told(png_header(2000, 1000) + png_pixels(2000, 1000)).width == 2000
    with pytest.raises(TooManyPixels):
        told(png_header(2000, 1001) + png_pixels(2000, 1001))


def test_jpeg_and_drawings_have_no_pixel_limit(told, settings):
    settings.MAX_MEGAPIXELS = 1
    assert told(saved(picture(size=(1200, 1000)), "JPEG")).width == 1200
    assert told(saved(picture(size=(1200, 1000)), "WEBP")).width == 1200
    assert told(svg('width="100000" height="100000"')).width == 100_000
    assert told(pdf(media_box="[0 0 5000 5000]")).width == 5000


# What shows through


def translucent(size=(40, 30), alpha=128):
    return picture("RGBA", size, (200, 10, 10, alpha))


def apng(*frames, blend, disposal=0, **options):
    first, *others = frames
    return saved(first, "PNG", save_all=True, append_images=others, blend=blend, disposal=disposal, **options)


OVER, SOURCE, CLEARED = 1, 0, 1


@pytest.mark.parametrize(
    ("data", "opaque"),
    [
        (apng(picture("RGBA"), translucent(), blend=OVER), True),
        (apng(picture("RGBA"), translucent(), blend=SOURCE), False),
        (apng(translucent(), picture("RGBA"), blend=OVER), False),
        (apng(picture("RGBA"), translucent(), blend=OVER, disposal=CLEARED), False),
        (apng(picture("RGBA"), translucent(), translucent(alpha=3), blend=OVER), True),
    ],
)
def test_an_apng_frame_over_an_opaque_one_is_opaque(told, data, opaque):
    assert told(data) == facts("png", opaque=opaque, animated=True)


def test_the_default_image_of_an_apng_counts(told):
    frames = [picture("RGBA"), picture("RGBA", color=(1, 2, 3, 255))]
    for default, opaque in ((picture("RGBA"), True), (translucent(), False)):
        data = saved(default, "PNG", save_all=True, append_images=frames, default_image=True)
        assert told(data).opaque is opaque


def animated_webp(*frames, over, cleared=False):
    """An animation of lossless frames that cover the canvas."""
    flags = (0 if over else 2) | (1 if cleared else 0)
    body = b"VP8X" + struct.pack("<IB3x", 10, 0x12) + b"\x27\0\0\x1d\0\0" + b"ANIM" + struct.pack("<I6x", 6)
    for frame in frames:
        content = (
            bytes(6) + b"\x27\0\0\x1d\0\0" + b"\x64\0\0" + bytes([flags]) + saved(frame, "WEBP", lossless=True)[12:]
        )
        body += b"ANMF" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize(
    ("data", "opaque"),
    [
        (animated_webp(picture("RGBA"), translucent(), over=True), True),
        (animated_webp(picture("RGBA"), translucent(), over=False), False),
        (animated_webp(translucent(), picture("RGBA"), over=True), False),
        (animated_webp(picture("RGBA"), translucent(), over=True, cleared=True), False),
        (animated_webp(picture("RGBA"), translucent(alpha=1), translucent(alpha=254), over=True), True),
    ],
)
def test_a_webp_frame_over_an_opaque_one_is_opaque(told, data, opaque):
    assert told(data) == facts("webp", opaque=opaque, animated=True)


@pytest.mark.parametrize(("alphas", "opaque"), [((255, 255), True), ((255, 254), False), ((0, 255), False)])
def test_a_jpeg_xl_animation_is_read_frame_by_frame(told, alphas, opaque):
    frames = [translucent(alpha=alpha) for alpha in alphas]
    assert told(images.jxl(frames, lossless=True)) == facts("jxl", opaque=opaque, animated=True)
