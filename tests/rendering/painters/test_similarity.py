"""Real photographs look as other programs render them: vipsthumbnail and ImageMagick."""

import shutil
import subprocess
from io import BytesIO

import numpy
import pytest
from PIL import Image

from tests.rendering.painters.test_golden import LUMA
from tests.sourceimages.probing.test_corpus import CORPUS
from tests.support import paint

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.skipif(CORPUS is None, reason="TEST_CORPUS is not set: a folder with images/images.json"),
]

PHOTOS = {  # whose colors are sRGB, and a width: smaller than the photo, as programs enlarge in different ways
    "jpg/progressive-420.jpg": 160,
    "jpg/gainmap.jpg": 160,
    "jpg/exif-orientation-6.jpg": 160,
    "jpg/mpo-two-images.jpg": 160,
    "jpg/rgb-adobe.jpg": 64,
    "jpg/gray.jpg": 80,
    "png/gray16.png": 20,
    "webp/lossy.webp": 80,
    "webp/exif-orientation-6.webp": 80,
    "tif/lzw.tif": 80,
}
LIKE_VIPSTHUMBNAIL, LIKE_IMAGEMAGICK = 0.985, 0.98
WINDOW = 7  # pixels
C1, C2 = 0.01**2, 0.03**2  # constants of SSIM


@pytest.fixture(scope="session")
def vipsthumbnail():
    program = shutil.which("vipsthumbnail")
    if program is None:
        pytest.skip("vipsthumbnail is not installed: apt-get install libvips-tools")
    return program


@pytest.fixture(scope="session")
def imagemagick():
    program = shutil.which("convert")
    if (
        program is None
        or "ImageMagick" not in subprocess.run([program, "-version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("ImageMagick is not installed: apt-get install imagemagick")
    return program


def luma(content):
    """From 0 to 1."""
    return numpy.asarray(Image.open(BytesIO(content)).convert("RGB"), float) @ LUMA / 255


def ssim(one, other):
    """The mean structural similarity of two images of luma (Wang et al. 2004), with square windows."""

    def mean(values):
        sums = numpy.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        return (
            sums[WINDOW:, WINDOW:] - sums[:-WINDOW, WINDOW:] - sums[WINDOW:, :-WINDOW] + sums[:-WINDOW, :-WINDOW]
        ) / WINDOW**2

    mean_one, mean_other = mean(one), mean(other)
    variance_one, variance_other = mean(one**2) - mean_one**2, mean(other**2) - mean_other**2
    covariance = mean(one * other) - mean_one * mean_other
    return (
        ((2 * mean_one * mean_other + C1) * (2 * covariance + C2))
        / ((mean_one**2 + mean_other**2 + C1) * (variance_one + variance_other + C2))
    ).mean()


@pytest.fixture
def render(painter):
    def render(photo):
        source = CORPUS / "images" / photo
        answer, content = painter.paint(paint.recipe(source, photo.split("/")[0], {"resize": {"width": PHOTOS[photo]}}))
        assert answer["width"] == PHOTOS[photo]
        return source, answer, luma(content)

    return render


@pytest.mark.parametrize("photo", PHOTOS)
def test_like_vipsthumbnail(render, vipsthumbnail, tmp_path, photo):
    source, answer, found = render(photo)
    size, made = f"{answer['width']}x{answer['height']}!", tmp_path / "made.png"
    subprocess.run([vipsthumbnail, source, "--size", size, "-o", made], check=True)
    assert ssim(found, luma(made.read_bytes())) >= LIKE_VIPSTHUMBNAIL


@pytest.mark.parametrize("photo", PHOTOS)
def test_like_imagemagick(render, imagemagick, tmp_path, photo):
    source, answer, found = render(photo)
    size, made = f"{answer['width']}x{answer['height']}!", tmp_path / "made.png"
    command = [imagemagick, f"{source}[0]", "-auto-orient", "-resize", size, "-depth", "8", made]
    subprocess.run(command, check=True)
    assert ssim(found, luma(made.read_bytes())) >= LIKE_IMAGEMAGICK


def test_other_images_are_not_similar(render):
    _, _, one = render("jpg/progressive-420.jpg")
    _, _, other = render("jpg/gainmap.jpg")
    rows = min(len(one), len(other))
    assert ssim(one[:rows], one[:rows]) == pytest.approx(1)
    assert ssim(one[:rows], other[:rows]) < 0.6
