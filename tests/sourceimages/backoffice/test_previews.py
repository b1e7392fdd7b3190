"""Pictures made small: what can be drawn is drawn, and no file gets more out of it than pixels."""

from io import BytesIO

import pytest
from PIL import Image, ImageDraw

from organizations.permissions import Role
from rokka import environment
from rokka.errors import Unavailable
from sourceimages import previews, probing, storage
from sourceimages.errors import BytesMissing, StorageUnavailable
from sourceimages.operations import set_protected
from tests import images
from tests.sourceimages.backoffice.conftest import PICTURES
from tests.sourceimages.probing.test_probing_corpus import CORPUS, manifest

SIDE = 200
UNDRAWN = {  # by what draws them here: unusual variants, and what takes a password
    "heic/mini.heif",
    "pdf/encrypted-user-password.pdf",
    "psd/cmyk16.psd",
    "psd/large-document.psb",
    "svg/not-utf8.svg",
}


@pytest.fixture(autouse=True)
def own_cache(settings, tmp_path):
    """Previews of this test go to a folder of its own."""
    settings.CACHES = settings.CACHES | {"previews": settings.CACHES["previews"] | {"LOCATION": tmp_path / "previews"}}


@pytest.fixture
def asked(monkeypatch):
    """What the drawing processes are asked, in order."""
    questions = []
    ask = probing._drawing.ask

    def noted(question, **options):
        questions.append(question)
        return ask(question, **options)

    monkeypatch.setattr(probing._drawing, "ask", noted)
    return questions


def address(image, size="small"):
    return f"{PICTURES}{image.pk}/preview/{size}/"


def drawn(tmp_path, content, format, *, side=SIDE, upright=True):
    """The picture that is made of these bytes."""
    path = tmp_path / f"original.{format}"
    path.write_bytes(content)
    made = probing.raster(path, format, side=side, upright=upright)
    return None if made is None else opened(made)


def opened(made):
    image = Image.open(BytesIO(made))
    assert image.format == "WEBP"
    image.load()
    return image


# --- Real files, and those that attack --------------------------------------------------------------------------------


@pytest.mark.parametrize("item", manifest("images/images.json", "files"))
def test_real_files(item):
    expected = item["expected"]
    if expected["format"] not in previews.DRAWN:
        return
    made = probing.raster(CORPUS / "images" / item["path"], expected["format"], side=SIDE, upright=True)
    assert (made is None) == (item["path"] in UNDRAWN)
    if made is None:
        return
    image = opened(made)
    assert max(image.size) <= SIDE
    width, height = (expected.get(f"display_{side}") or expected.get(side) for side in ("width", "height"))
    if width and height:
        scale = min(1, SIDE / max(width, height))
        assert image.width == pytest.approx(width * scale, abs=1.5)
        assert image.height == pytest.approx(height * scale, abs=1.5)
    assert not image.getexif()
    assert not {"icc_profile", "exif", "xmp"} & image.info.keys()


def has_a_format(case):
    return case["file"] and case.get("kind") not in ("raw_request", "filename")


@pytest.mark.parametrize("case", manifest("hostile/hostile.json", "cases", has_a_format))
def test_hostile_files(case, tmp_path):
    path = CORPUS / "hostile" / case["file"]
    formats = {case.get("format"), {"tiff": "tif", "svgz": "svg"}.get(path.suffix[1:], path.suffix[1:])}
    for format in formats & previews.DRAWN:
        made = probing.raster(path, format, side=SIDE, upright=True)
        assert made is None or max(opened(made).size) <= SIDE
    assert drawn(tmp_path, images.png(), "png").size == (8, 6)


@pytest.mark.parametrize("format", sorted(previews.DRAWN))
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\xff" * 5000])
def test_nonsense_is_nothing(tmp_path, format, content):
    assert drawn(tmp_path, content, format) is None


REFERENCES = ["file://{path}", "{path}", "secret.png", "./secret.png", "../{folder}/secret.png"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_drawing_shows_no_other_file(tmp_path, reference):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (100, 100), "red").save(secret)
    href = reference.format(path=secret, folder=tmp_path.name)
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="100" height="100">'
        f'<rect width="100" height="100" fill="blue"/><image xlink:href="{href}" width="100" height="100"/>'
        f'<image href="{href}" width="100" height="100"/></svg>'
    )
    image = drawn(tmp_path, text.encode(), "svg").convert("RGB")
    assert {red > 60 for _, (red, _, _) in image.getcolors(10_000)} == {False}


def test_a_drawing_includes_no_other_file(tmp_path):
    (tmp_path / "secret.txt").write_text("MMMMMMMM")
    head = f'<!DOCTYPE svg [<!ENTITY secret SYSTEM "file://{tmp_path}/secret.txt">]>'

    def with_text(text):
        return (
            f'{head}<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">'
            f'<text x="0" y="50" font-size="30">{text}</text></svg>'
        ).encode()

    image, empty = drawn(tmp_path, with_text("&secret;"), "svg"), drawn(tmp_path, with_text(""), "svg")
    assert image is None or image.tobytes() == empty.tobytes()


# --- What is drawn ----------------------------------------------------------------------------------------------------


def lopsided(**options):
    """Twice as wide as high, red on the left and blue on the right."""
    picture = Image.new("RGB", (40, 20), "blue")
    ImageDraw.Draw(picture).rectangle((0, 0, 19, 19), fill="red")
    return images.encoded(picture, "JPEG", quality=95, **options)


def test_a_photograph_is_turned_as_it_says_or_as_it_is_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    exif[0x010E] = "a secret place"
    content = lopsided(exif=exif)
    upright, stored = (drawn(tmp_path, content, "jpg", upright=upright) for upright in (True, False))
    assert (upright.size, stored.size) == ((20, 40), (40, 20))
    assert upright.convert("RGB").getpixel((10, 5))[0] > 200  # what was left is on top
    assert upright.convert("RGB").getpixel((10, 35))[2] > 200
    assert stored.convert("RGB").getpixel((5, 10))[0] > 200
    for made in upright, stored:
        assert not made.getexif()
        assert "exif" not in made.info


@pytest.mark.parametrize(("format", "name"), [("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"), ("tif", "TIFF")])
def test_transparency_is_kept(tmp_path, format, name):
    picture = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((0, 0, 9, 19), fill=(255, 0, 0, 255))
    image = drawn(tmp_path, images.encoded(picture, name), format).convert("RGBA")
    assert image.getpixel((25, 10))[3] == 0
    assert image.getpixel((3, 10))[3] == 255


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("item", manifest("images/images.json", "files", lambda item: "jxl/ori" in item["path"]))
def test_what_turns_itself_has_one_way_up(item, upright):
    made = probing.raster(CORPUS / "images" / item["path"], "jxl", side=SIDE, upright=upright)
    assert opened(made).size == (200, 165)


def test_small_ones_are_not_made_larger(tmp_path):
    assert drawn(tmp_path, images.png(8, 6), "png").size == (8, 6)
    assert drawn(tmp_path, images.png(400, 100), "png", side=100).size == (100, 25)
    assert drawn(tmp_path, images.svg(width=30, height=20), "svg").size == (30, 20)


def test_it_is_drawn_once(image, asked):
    first = previews.preview(image.file, "small")
    assert first
    assert previews.preview(image.file, "small") == first
    assert len(asked) == 1
    previews.preview(image.file, "large")
    previews.preview(image.file, "small", upright=False)
    assert [(question["side"], question["upright"]) for question in asked] == [(320, True), (1600, True), (320, False)]


def test_what_cannot_be_drawn_is_remembered(image, asked, monkeypatch):
    monkeypatch.setattr(probing, "raster", lambda *_, **__: asked.append("once"))
    assert previews.preview(image.file, "small") is None
    assert previews.preview(image.file, "small") is None
    assert asked == ["once"]


def test_a_format_that_nobody_draws_is_not_asked_about(image, asked):
    image.file.format = "eps"
    assert previews.preview(image.file, "small") is None
    assert asked == []


def test_missing_bytes_are_not_remembered(image, own_files):
    path = next(path for path in own_files.rglob("*") if path.is_file())
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(BytesMissing):
        previews.preview(image.file, "small")
    path.write_bytes(content)
    assert previews.preview(image.file, "small")


@pytest.mark.parametrize("error", [StorageUnavailable, Unavailable])
def test_what_is_a_matter_of_time_is_not_remembered(image, monkeypatch, error):
    with monkeypatch.context() as patch:

        def refused(*_, **__):
            raise error("Try again.")

        patch.setattr(probing, "raster", refused)
        with pytest.raises(error):
            previews.preview(image.file, "small")
    assert previews.preview(image.file, "small")


# --- Over HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_preview_is_ours_and_private(staff, image, size):
    answer = staff.get(address(image, size))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert answer["Cache-Control"].startswith("private")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    with storage.originals().local(image.file.key) as path:
        assert answer.content != path.read_bytes()
    opened(answer.content)


def test_a_drawing_comes_as_pixels(staff, acme, alice):
    alice.upload(acme, images.svg(), name="drawing.svg")
    answer = staff.get(address(acme.images.get()))
    assert answer["Content-Type"] == "image/webp"
    assert b"<svg" not in answer.content
    assert opened(answer.content).size == (30, 20)


def test_what_cannot_be_drawn_leads_to_a_picture_that_says_so(staff, acme, image, monkeypatch):
    monkeypatch.setattr(previews, "preview", lambda *_, **__: None)
    answer = staff.get(address(image))
    assert (answer.status_code, answer["Location"]) == (302, "/static/rokka/nothing.svg")


def test_missing_bytes_are_told(staff, image, own_files):
    for path in own_files.rglob("*"):
        if path.is_file():
            path.unlink()
    assert staff.get(address(image)).status_code == 503


@pytest.mark.parametrize("size", ["", "huge", "original"])
def test_there_are_two_sizes(staff, image, size):
    answer = staff.get(f"{PICTURES}{image.pk}/preview/{size}/")
    assert answer.status_code in (302, 404)
    assert "image" not in answer.get("Content-Type", "")


@pytest.mark.parametrize("role", Role)
def test_what_is_protected_is_seen_by_those_who_may_download_it(colleague, image, alice, role):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    browser = colleague(role)
    reads = role not in (Role.PROTECTED_DOWNLOAD, Role.UNLOCK, Role.UPLOAD, Role.BILLING_READ)
    downloads = role in (Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ)
    assert browser.get(address(image)).status_code == (200 if reads else 404)
    answer = browser.get(address(protected))
    assert answer.status_code == (404 if not reads else 200 if downloads else 302)
    if reads and not downloads:
        assert answer["Location"] == "/static/rokka/protected.svg"


def test_both_roles_together_show_it(colleague, image, alice):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    assert colleague(Role.IMAGES_READ, Role.PROTECTED_DOWNLOAD).get(address(protected)).status_code == 200


def test_nobody_else_sees_anything(client, outsider, image):
    assert outsider.get(address(image)).status_code == 404
    assert client.get(address(image)).headers["Location"].startswith("/admin/login/")


def test_bytes_in_a_bucket_are_drawn_too(staff, acme, alice, settings, empty_bucket, tmp_path):
    settings.STORAGES = settings.STORAGES | {"originals": environment.storage(empty_bucket, spool=tmp_path / "spool")}
    alice.upload(acme, images.png(40, 30), name="far away.png")
    answer = staff.get(address(acme.images.get()))
    assert Image.open(BytesIO(answer.content)).size == (40, 30)
    assert list((tmp_path / "spool").iterdir()) == []
