"""Metadata that exiftool reads in a file before and after its optimization."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sourceimages.probing.transcoding import transcode
from tests.support import photos, tiffs

pytestmark = pytest.mark.any_database

KEPT = ("IFD0", "ExifIFD", "GPS", "IPTC", "Photoshop", "ICC_Profile", "ICC-header", "XMP-")
STRUCTURE = {  # how the pixels lie in the file
    *("SubfileType", "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation"),
    *("FillOrder", "StripOffsets", "SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "PlanarConfiguration"),
    *("PageNumber", "NumChannels", "BitDepth", "ColorMode", "LayerCount"),
}


@pytest.fixture(scope="module")
def exiftool():
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl): what it reads was left out")

    def read(path):
        """What the file says, by group and name, and what exiftool thinks of it."""
        command = [program, "-json", "-G1", "-a", "-n", "-b", "-warning", "-error", "-all", path]
        [found] = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
        groups = {name: value for name, value in found.items() if name.startswith(KEPT)}
        told = {name: value for name, value in groups.items() if name.rpartition(":")[2] not in STRUCTURE}
        return told, [value for name, value in found.items() if name.endswith(("Warning", "Error"))]

    return read


def everything():
    said = tiffs.exif() | {700: tiffs.XMP, 33723: tiffs.iptc(caption="Hafen", keywords="See", copyright_notice="Kim")}
    return tiffs.build(tiffs.pixels(40, 30) | said | {34377: photos.resource(1034, b"\1")})


def design():
    resources = photos.resource(1058, tiffs.build(tiffs.exif())) + photos.resource(1060, tiffs.XMP)
    resources += photos.resource(1039, photos.SRGB) + photos.resource(1028, tiffs.iptc(caption="Hafen", byline="Kim"))
    return photos.psd(photos.noise(40, 30, 3), resources=resources)


@pytest.mark.parametrize("to", ["png", "jpg"])
@pytest.mark.parametrize("make", [everything, design])
def test_exiftool_reads_the_same_in_the_new_file(exiftool, tmp_path, make, to):
    path = tmp_path / "original"
    path.write_bytes(make())
    compare(exiftool, path, "psd" if make is design else "tif", to, tmp_path)


@pytest.mark.parametrize("to", ["png", "jpg"])
def test_exiftool_reads_the_same_in_a_file_from_the_field(exiftool, tmp_path, corpus, to):
    compare(exiftool, corpus / "field" / "rights.tif", "tif", to, tmp_path)


def test_exiftool_reads_the_same_in_a_transparent_photo(exiftool, tmp_path):
    path = tmp_path / "original"
    resources = photos.resource(1058, tiffs.build(tiffs.exif())) + photos.resource(1060, tiffs.XMP)
    path.write_bytes(photos.psd(photos.noise(41, 30, 4), alpha=True, resources=resources))
    compare(exiftool, path, "psd", "jpg", tmp_path)


def compare(exiftool, path: Path, format: str, to: str, folder: Path) -> None:
    before, _ = exiftool(path)
    assert before["IFD0:Artist"] == "Kim Lee"
    with transcode(path, format, to, folder=folder) as new:
        assert not new.skipped_reason
        after, warnings = exiftool(new.path)
    assert {name: after.get(name) for name in before} == before
    assert warnings == []
