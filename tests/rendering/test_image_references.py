"""The end of a render URL: the image, the slug and the format."""

import pytest

from rendering.errors import FormatUnavailable, StackNotFound
from rendering.grammar import FORMATS, parse
from rokka.settings import FORMATS as SOURCE_FORMATS
from sourceimages.errors import ImageNotFound

pytestmark = pytest.mark.any_database


def read(path):
    return parse(path, "", "acme")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/thumb/0123ab.jpg", ("hash", "0123ab", None)),
        ("/thumb/0123ab/red.barn.jpg", ("hash", "0123ab", "red.barn")),
        ("/thumb/0123ab/.jpg", ("hash", "0123ab", None)),
        ("/thumb/0123ab/20240101.jpg", ("hash", "0123ab", "20240101")),
        ("/facade/0123ab.jpg", ("hash", "0123ab", None)),
        ("/thumb/0123ab/-x-.jpg", ("hash", "0123ab", "-x-")),
        ("/dynamic/--noop/0123ab.jpg", ("hash", "0123ab", None)),
        ("/thumb/-_my-logo_-.jpg", ("alias", "my-logo", None)),
        ("/thumb/-_logo_-/0123abcd.jpg", ("alias", "logo", "0123abcd")),
        ("/thumb/-_logo_-/slug-.jpg", ("alias", "logo", "slug-")),
        ("/thumb/-2017/06/-pic.jpg-.png", ("remote", "2017/06/-pic.jpg", None)),
        ("/thumb/-https://a.example/b-c/d.jpg-/x.png", ("remote", "https://a.example/b-c/d.jpg", "x")),
        ("/thumb/-http:/a.example/d%3Fw=1-.png", ("remote", "http://a.example/d?w=1", None)),
        ("/thumb/-https://a.example/s/0123ab/x.jpg-.png", ("remote", "https://a.example/s/0123ab/x.jpg", None)),
        ("/thumb/-https://a.example/s/-_logo_-.jpg-.png", ("remote", "https://a.example/s/-_logo_-.jpg", None)),
    ],
)
def test_the_image_is_found_from_the_end(path, expected):
    url = read(path)
    assert (url.image.kind, url.image.value, url.slug) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/thumb/0123a.jpg",
        f"/thumb/{'a' * 41}.jpg",
        "/thumb/0123AB.jpg",
        "/thumb/.jpg",
        "/thumb/-x.jpg",
        "/thumb/--.jpg",
        "/0123ab.jpg",
        "/thumb/0123ab/a/b.jpg",
    ],
)
def test_a_path_without_an_image_is_not_found(path):
    with pytest.raises(ImageNotFound):
        read(path)


@pytest.mark.parametrize("name", ["0123ab", "0123ab.", "0123ab.j", "0123ab.jpegs", "0123ab.j-g", "0123ab.exe", ""])
def test_a_path_without_a_known_format_is_not_found(name):
    with pytest.raises(FormatUnavailable):
        read(f"/thumb/{name}")


@pytest.mark.parametrize(("extension", "format"), [("jpeg", "jpg"), ("JPG", "jpg"), ("m3u8", "m3u8"), ("blur", "blur")])
def test_formats_have_one_name(extension, format):
    assert read(f"/thumb/0123ab.{extension}").format == format


def test_every_source_format_that_fits_into_a_url_is_known():
    assert set(SOURCE_FORMATS) - FORMATS == {"woff2"}  # a format has 2 to 4 characters


@pytest.mark.parametrize(
    ("slug", "fresh"), [("v1", True), ("red-v17", True), ("nov5", True), ("v", False), ("v1a", False)]
)
def test_a_slug_with_a_version_is_a_fresh_render(slug, fresh):
    assert read(f"/thumb/0123ab/{slug}.jpg").fresh is fresh


def test_slugs_can_contain_any_character():
    assert read("/thumb/0123ab/%ff%00[-]%2F.jpg").slug == "\ufffd\0[-]/"


@pytest.mark.parametrize("stack", ["Thumb", "a.b", "a%2Fb", "ü"])
def test_a_stack_with_an_invalid_name_is_not_found(stack):
    with pytest.raises(StackNotFound):
        read(f"/{stack}/0123ab.jpg")
