"""Renders with measured properties, from a folder outside: TEST_CORPUS holds rendering/golden.json and images/."""

import json
import os
from io import BytesIO
from math import floor
from pathlib import Path

import numpy
import pytest
from PIL import ExifTags, Image

from tests.support.paint import recipe

pytestmark = pytest.mark.any_database

CORPUS = Path(os.environ["TEST_CORPUS"]) if os.environ.get("TEST_CORPUS") else None
PILLOW_NAMES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF"}
REGIONS = {  # fractions of the sides: left, top, right, bottom
    "centre": (0.4, 0.4, 0.6, 0.6),
    "top_left": (0.02, 0.02, 0.14, 0.14),
    "top_right": (0.86, 0.02, 0.98, 0.14),
    "bottom_left": (0.02, 0.86, 0.14, 0.98),
    "bottom_right": (0.86, 0.86, 0.98, 0.98),
    "all": (0, 0, 1, 1),
}
MIN_ALPHA = 12  # a region with less has no color
LUMA = (0.299, 0.587, 0.114)
CONTRADICTING = {  # expectations that the case itself rules out
    ("g125", "detail"): "the blur is switched off, but the limit is that of a blurred image",
    ("g136", "bottom_left"): "no JPEG encoder keeps this edge within the tolerance at quality 80",
}


def cases():
    if CORPUS is None or not (CORPUS / "rendering" / "golden.json").exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="TEST_CORPUS has no rendering/golden.json"))]
    return [
        pytest.param(case, id=case["id"])
        for case in json.loads((CORPUS / "rendering/golden.json").read_text())["cases"]
    ]


def recipe_of(case):
    options = dict(case["options"])
    operations = [{operation["name"]: operation["options"]} for operation in case["operations"]]
    path = CORPUS / "images" / case["source"]
    dpr = options.pop("dpr", 1)
    return recipe(path, case["source"].split("/")[0], *operations, to=case["format"], dpr=dpr, options=options)


@pytest.mark.parametrize("case", cases())
def test_golden(painter, case):
    answer, content = painter.paint(recipe_of(case))
    assert "error" not in answer, answer
    expect = case["expect"]
    image = Image.open(BytesIO(content))
    tolerance = expect["size_tolerance"]
    assert image.width == pytest.approx(expect["width"], abs=tolerance)
    assert image.height == pytest.approx(expect["height"], abs=tolerance)
    assert (answer["width"], answer["height"]) == image.size
    assert image.format == PILLOW_NAMES[expect["format"]]
    assert getattr(image, "n_frames", 1) == answer["frames"] == expect["frames"]
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    pixels = numpy.asarray(image.convert("RGBA"), numpy.float64)
    assert (pixels[..., 3].min() < 255) == expect["alpha"]
    assert image.has_transparency_data == expect["alpha"]
    found = {name: mean_color(pixels, REGIONS[name]) for name in expect.get("colours", {})}
    for name, wanted in expect.get("colours", {}).items():
        if (case["id"], name) in CONTRADICTING:
            continue
        rgb, alpha = found[name]
        assert alpha == pytest.approx(wanted["alpha"], abs=expect["tolerance"]), name
        if wanted["rgb"] is not None:
            assert rgb == pytest.approx(wanted["rgb"], abs=expect["tolerance"]), name
    if "detail_at_most" in expect and (case["id"], "detail") not in CONTRADICTING:
        assert detail(pixels) <= expect["detail_at_most"]
    if "detail_at_least" in expect:
        assert detail(pixels) >= expect["detail_at_least"]
    if expect.get("grey"):
        visible = pixels[pixels[..., 3] > 0][:, :3]
        assert (visible.max(axis=1) - visible.min(axis=1)).max() <= 2


def mean_color(pixels, region):
    """Mean color weighted by alpha, and mean alpha."""
    height, width, _ = pixels.shape
    left, top, right, bottom = region
    x, y = floor(width * left), floor(height * top)
    part = pixels[y : max(y + 1, round(height * bottom)), x : max(x + 1, round(width * right))]
    alpha = part[..., 3].mean()
    if alpha < MIN_ALPHA:
        return None, alpha
    return list((part[..., :3] * part[..., 3:]).sum(axis=(0, 1)) / part[..., 3].sum()), alpha


def detail(pixels):
    """Mean absolute horizontal difference of luma over opaque pixels."""
    luma = pixels[..., :3] @ LUMA
    opaque = (pixels[:, 1:, 3] == 255) & (pixels[:, :-1, 3] == 255)
    return numpy.abs(numpy.diff(luma, axis=1))[opaque].mean()
