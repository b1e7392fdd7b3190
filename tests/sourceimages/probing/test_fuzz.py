"""Fuzzing: small files of all formats with random changes, and random bytes after a signature.

FUZZ_SECONDS says for how long, FUZZ_SEED repeats a run; `bin/fuzz` runs for longer.
"""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourceimages import operations, probing
from sourceimages.models import StoredFile
from tests.support import images, photos, tiffs

pytestmark = pytest.mark.any_database

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 15)
SMALL = 60_000  # bytes of a file of the corpus that is changed
TELLING = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\xff\xff", b"<", b"]>"]
BOXES = [b"\0\0\0\x18ftyp" + brand for brand in (b"avif", b"heic", b"mp42")]
ZIPPED = [b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
TEXTS = [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n", b"<svg ", b"<?xml ", b"{\\rtf", b""]
PIXELS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBP", b"\xff\x0a"]
PAGES = [b"II*\0", b"MM\0*", b"II+\0", b"IIRO", b"IIU\0", b"8BPS\0\1", b"OTTO\0", b"wOF2OTTO"]
SIGNATURES = [*PIXELS, *PAGES, *BOXES, *ZIPPED, *TEXTS]


def seeds() -> list[bytes]:
    """Files that this project makes itself, and small ones of the corpus where there is one."""
    made = [images.png(40, 30), images.png(mode="RGBA"), images.jpeg(40, 30), images.svg()]
    made += [photos.tiff(photos.noise(40, 30, 3)), photos.psd(photos.noise(40, 30, 3), packed=True), photos.multipage()]
    made += [tiffs.dng(), tiffs.raw("SONY"), tiffs.build(tiffs.pixels(40, 30) | tiffs.exif() | {700: tiffs.XMP})]
    if corpus := os.environ.get("TEST_CORPUS"):
        files = sorted(path for path in Path(corpus, "images").rglob("*.*") if path.suffix != ".json")
        made += [path.read_bytes() for path in files if path.stat().st_size < SMALL]
    return made


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = (
            min(len(data), int(chance.expovariate(1 / 200)))
            if chance.random() < 0.7
            else chance.randrange(len(data) + 1)
        )
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                telling = chance.choice(TELLING)
                data[at : at + len(telling)] = telling
            case 2:
                del data[at : at + chance.randint(1, 64)]
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 64)]
            case 4:
                del data[at:]
            case 5:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                data[at:] = other[start : start + SMALL]
    return bytes(data)


def left_in_spool(storage_dir: Path) -> list[Path]:
    spool = storage_dir / ".spool"
    return [path for path in spool.iterdir() if path.name != "trash.lock"] if spool.exists() else []


@pytest.mark.usefixtures("consistent")
def test_changed_files_are_kept_or_refused(acme, alice, storage_dir):
    seed = int(os.environ.get("FUZZ_SEED") or time.time_ns())
    chance, files, statuses = random.Random(seed), seeds(), {200: 0, 400: 0}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        content = mutated(chance.choice(files), files, chance)
        began = time.monotonic()
        response = alice.upload(acme, content, optimize_source=chance.choice(["true", "jpg", "false"]))
        assert response.status_code in (200, 400), (seed, response.json())
        assert time.monotonic() - began < 12, seed
        assert left_in_spool(storage_dir) == [], seed
        statuses[response.status_code] += 1
        for file_id in operations.waiting_to_be_optimized():
            assert operations.optimize(file_id), seed
    assert StoredFile.objects.exclude(optimize_to="").count() == 0, seed
    assert min(statuses.values()) > 0, statuses
    assert probing.probe(__file__).format == "txt"  # readers still read


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(signature=st.sampled_from(SIGNATURES), rest=st.binary(max_size=400))
def test_bytes_behind_a_signature_are_kept_or_refused(acme, alice, storage_dir, signature, rest):
    response = alice.upload(acme, signature + rest)
    assert response.status_code in (200, 400)
    assert left_in_spool(storage_dir) == []
