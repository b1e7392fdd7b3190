"""Camera raws are not taken for the TIFF that they are built like."""

import struct

import pytest

from sourceimages import probing
from sourceimages.errors import FormatNotAllowed
from tests.support import photos, tiffs

pytestmark = pytest.mark.any_database

EXIF_SIZE = {40962: 600, 40963: 400}
BORDERS = {4: 10, 5: 20, 6: 410, 7: 620}  # of the sensor of a Panasonic: top, left, bottom, right
PLAIN = tiffs.pixels(16, 12)
SENSOR = tiffs.image(600, 400, photometric=tiffs.CFA)

RAWS = {
    "dng": tiffs.dng(),
    "dng, big-endian": tiffs.dng(order=">"),
    "dng, linear": tiffs.build(
        PLAIN | {254: 1, 50706: b"\1\4\0\0", 330: [tiffs.image(600, 400, photometric=tiffs.LINEAR_RAW)]}
    ),
    "dng, the photograph first": tiffs.build(SENSOR | {50706: b"\1\4\0\0", 330: [tiffs.image(900, 600, reduced=True)]}),
    "nef": tiffs.raw("NIKON CORPORATION"),
    "nrw": tiffs.build(tiffs.image(160, 120, reduced=True) | {259: 6, 271: "NIKON", 330: [SENSOR]}),
    "arw": tiffs.raw("SONY"),
    "pef": tiffs.build(SENSOR | {259: 65535, 271: "PENTAX Corporation"}, tiffs.image(160, 120)),
    "srw": tiffs.raw("SAMSUNG"),
    "3fr": tiffs.raw("Hasselblad"),
    "cr2": tiffs.build(PLAIN | {271: "Canon", 34665: [EXIF_SIZE]}, head=b"II*\0\0\0\0\0CR\2\0\0\0\0\0"),
    "iiq": tiffs.build(PLAIN | {271: "Phase One", 34665: [EXIF_SIZE]}, head=b"II*\0\0\0\0\0IIIICwaR"),
    "orf": tiffs.build(tiffs.image(600, 400) | {271: "OLYMPUS CORPORATION"}, head=b"IIRO\0\0\0\0"),
    "rw2": tiffs.build(BORDERS | {271: "Panasonic"}, head=b"IIU\0\0\0\0\0" + bytes(16)),
    "nef, without the pattern of a sensor": tiffs.build(
        PLAIN | {254: 1, 271: "NIKON CORPORATION", 330: [tiffs.image(600, 400)]}
    ),
}


@pytest.fixture
def probed(tmp_path):
    def probe(content, name="scan.tif"):
        path = tmp_path / name
        path.write_bytes(content)
        return probing.probe(path)

    return probe


@pytest.mark.parametrize("content", RAWS.values(), ids=RAWS.keys())
def test_a_raw_is_of_its_own_format_and_has_the_size_of_the_photograph(probed, content, request):
    probe = probed(content)
    assert probe.format == request.node.callspec.id.partition(",")[0]
    assert probe.mimetype.startswith("image/x-")
    assert (probe.width, probe.height, probe.opaque, probe.animated) == (600, 400, True, False)


def test_what_a_raw_says_of_the_photograph_is_reported(probed):
    exif = {36867: "2024:06:11 10:00:00", 37500: b"secret of the maker", 40961: 1}
    place = {1: "N", 2: [tiffs.Fraction(47), tiffs.Fraction(30), tiffs.Fraction(0)]}
    place |= {3: "E", 4: [tiffs.Fraction(8), tiffs.Fraction(30), tiffs.Fraction(0)]}
    page = PLAIN | {254: 1, 271: "SONY", 315: "Kim Lee", 330: [SENSOR], 34665: [exif], 34853: [place], 700: tiffs.XMP}
    groups = probed(tiffs.build(page)).static_metadata
    assert groups["exif"]["artist"] == "Kim Lee"
    assert groups["exif"]["date_time_original"] == "2024:06:11 10:00:00"
    assert groups["location"] == {"latitude": 47.5, "longitude": 8.5}
    assert groups["xmp"] == {"rating": "4", "label": "Gr\u00fcn"}
    assert "secret" not in str(groups)


UNKNOWN = {
    "mef": tiffs.raw("Mamiya"),
    "erf": tiffs.raw("SEIKO EPSON CORP."),
    "unknown maker": tiffs.raw("Nobody"),
    "raf": b"FUJIFILMCCD-RAW 0201" + bytes(200),
    "crw": b"II\x1a\0\0\0HEAPCCDR" + bytes(200),
    "mrw": b"\0MRM" + bytes(200),
    "x3f": b"FOVb" + bytes(200),
}


@pytest.mark.parametrize("content", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_raw_that_nothing_reads_is_refused_by_name(probed, content, request):
    with pytest.raises(FormatNotAllowed, match=request.node.callspec.id):
        probed(content)


TIFFS = {
    "thumbnail on the second page": tiffs.build(PLAIN | {271: "NIKON"}, tiffs.image(4, 3, reduced=True)),
    "overviews below": tiffs.build(PLAIN | {271: "SONY", 330: [tiffs.image(8, 6, reduced=True)]}),
    "preview first": tiffs.build(PLAIN | {254: 1}, tiffs.image(600, 400)),
    "preview first, by a scanner": tiffs.build(PLAIN | {254: 1, 271: "Nikon"}, tiffs.image(600, 400)),
    "below is nonsense": tiffs.build(PLAIN | {330: (10**9,)}),
    "it is below itself": tiffs.build(PLAIN | {330: (8,)}),
    "a long way down": tiffs.build(PLAIN | {330: (8,) * 60}),
    "it follows itself": tiffs.build(PLAIN)[: 10 + 12 * len(PLAIN)]
    + struct.pack("<I", 8)
    + tiffs.build(PLAIN)[14 + 12 * len(PLAIN) :],
}


@pytest.mark.parametrize("content", TIFFS.values(), ids=TIFFS.keys())
def test_a_tiff_with_more_than_one_image_is_still_a_tiff(probed, content):
    probe = probed(content)
    assert (probe.format, probe.width, probe.height) == ("tif", 16, 12)


def test_the_name_of_a_file_makes_no_raw_of_it(probed):
    assert probed(photos.tiff(photos.noise(20, 10, 3)), "photo.dng").format == "tif"
    assert probed(tiffs.dng(), "photo.tif").format == "dng"


def test_raws_from_the_field(probed, corpus):
    probe = probed((corpus / "field" / "camera.dng").read_bytes())
    assert (probe.format, probe.mimetype, probe.width, probe.height) == ("dng", "image/x-adobe-dng", 120, 80)
