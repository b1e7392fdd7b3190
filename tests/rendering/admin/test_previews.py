"""Previews over HTTP: rendered once, private, and only with permission."""

import threading
from io import BytesIO

import pytest
from PIL import Image

from organizations.permissions import Role
from rendering import pool, previews, serving
from rendering.maintenance import remove_unreferenced
from rendering.previews import preview
from rokka.core import env
from sourceimages import storage
from sourceimages.operations import delete_image, set_protected
from tests.conftest import files_in
from tests.sourceimages.admin.conftest import IMAGES_URL
from tests.support import images

pytestmark = pytest.mark.any_database


def address(image, size="small"):
    return f"{IMAGES_URL}{image.pk}/preview/{size}/"


def opened(content):
    image = Image.open(BytesIO(content))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_preview_is_rendered_and_private(staff, image, size):
    answer = staff.get(address(image, size))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert answer["Cache-Control"] == "private, no-cache"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    with storage.originals().local_path(image.file.key) as path:
        assert answer.content != path.read_bytes()
    opened(answer.content)


def test_an_svg_is_rendered_as_webp(staff, acme, alice):
    alice.upload(acme, images.svg(), name="drawing.svg")
    answer = staff.get(address(acme.images.get()))
    assert answer["Content-Type"] == "image/webp"
    assert b"<svg" not in answer.content
    assert opened(answer.content).size == (30, 20)


@pytest.fixture
def rendered_by_worker(monkeypatch):
    """The keys of what workers were asked for."""
    asked = []
    render = pool.render

    def recorded(recipe, target, *, heavy):
        asked.append(recipe["operations"][0]["options"]["width"])
        return render(recipe, target, heavy=heavy)

    monkeypatch.setattr(pool, "render", recorded)
    return asked


def test_a_preview_is_rendered_once(staff, image, rendered_by_worker):
    first = staff.get(address(image))
    assert staff.get(address(image)).content == first.content
    assert rendered_by_worker == [320]


def test_each_size_and_orientation_is_another_preview(staff, image, rendered_by_worker):
    answers = [staff.get(address(image, size) + query) for size in ("small", "large") for query in ("", "?stored")]
    assert rendered_by_worker == [320, 320, 1600, 1600]
    assert len({answer["ETag"] for answer in answers}) == 4


def test_a_browser_is_told_that_its_copy_is_current(staff, image, rendered_by_worker):
    etag = staff.get(address(image))["ETag"]
    answer = staff.get(address(image), headers={"if-none-match": etag})
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    assert answer["Cache-Control"] == "private, no-cache"
    assert rendered_by_worker == [320]


def test_a_changed_file_is_another_preview(staff, image):
    etag = staff.get(address(image))["ETag"]
    type(image.file).objects.filter(pk=image.file_id).update(content_hash="0" * 64)
    answer = staff.get(address(image), headers={"if-none-match": etag})
    assert answer.status_code == 200
    assert answer["ETag"] != etag


def test_head_is_answered_like_get_without_the_body(staff, image):
    answer = staff.head(address(image))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["ETag"] == staff.get(address(image))["ETag"]


def test_without_a_preview_a_placeholder_is_shown(staff, acme, image, storage_dir):
    [path] = files_in(storage_dir)
    path.write_bytes(b"damaged")
    answer = staff.get(address(image))
    assert (answer.status_code, answer["Location"]) == (302, "/static/sourceimages/no-preview.svg")
    path.unlink()  # the failure is remembered
    assert staff.get(address(image)).status_code == 302


def test_formats_that_can_not_be_rendered_have_no_preview(image, rendered_by_worker):
    image.file.format = "eps"
    assert preview(image, "small") is None
    assert rendered_by_worker == []


def test_a_worker_that_is_killed_gives_no_preview_for_a_while(image, monkeypatch):
    def killed(*_, **__):
        raise pool.RenderInterrupted("the reader died (Killed)")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "render", killed)
        assert preview(image, "small") is None
    assert preview(image, "small") is None
    serving.memory.clear()
    assert preview(image, "small")


def test_images_in_the_trash_have_previews(staff, image, alice):
    staff.get(address(image))
    delete_image(image, actor=alice.actor)
    assert remove_unreferenced() == 1
    assert staff.get(address(image)).status_code == 200


def test_previews_take_turns(image, monkeypatch):
    """More at once than may render wait, instead of being refused."""
    monkeypatch.setattr(previews, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(pool, "_waiting", threading.BoundedSemaphore(1))
    found = []
    assert image.file  # read before, in the transaction of the test
    with pool.admission():
        waiting = threading.Thread(target=lambda: found.append(preview(image, "small")))
        waiting.start()
        waiting.join(0.2)
        assert found == []
    waiting.join(30)
    [render] = found
    assert render.format == "webp"


def test_a_preview_that_does_not_get_its_turn_is_refused(staff, image, monkeypatch):
    monkeypatch.setattr(previews, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(previews, "WAIT_SECONDS", 0.01)
    with previews._turn():
        assert staff.get(address(image)).status_code == 429


def test_a_missing_original_is_an_error(staff, image, storage_dir):
    for path in storage_dir.rglob("*"):
        if path.is_file():
            path.unlink()
    assert staff.get(address(image)).status_code == 503


@pytest.mark.parametrize("size", ["", "huge", "original"])
def test_there_are_two_sizes(staff, image, size):
    answer = staff.get(f"{IMAGES_URL}{image.pk}/preview/{size}/")
    assert answer.status_code in (302, 404)
    assert "image" not in answer.get("Content-Type", "")


@pytest.mark.parametrize("role", Role)
def test_previews_of_protected_images_require_permission_to_download(colleague, image, alice, role):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    browser = colleague(role)
    reads = role not in (Role.PROTECTED_DOWNLOAD, Role.UNLOCK, Role.UPLOAD, Role.BILLING_READ)
    downloads = role in (Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ)
    assert browser.get(address(image)).status_code == (200 if reads else 404)
    answer = browser.get(address(protected))
    assert answer.status_code == (404 if not reads else 200 if downloads else 302)
    if reads and not downloads:
        assert answer["Location"] == "/static/sourceimages/protected.svg"


def test_both_roles_together_show_it(colleague, image, alice):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    assert colleague(Role.IMAGES_READ, Role.PROTECTED_DOWNLOAD).get(address(protected)).status_code == 200


def test_strangers_see_no_previews(client, outsider, image):
    assert outsider.get(address(image)).status_code == 404
    assert client.get(address(image)).headers["Location"].startswith("/admin/login/")


def test_files_in_a_bucket_have_previews(staff, acme, alice, settings, empty_bucket, tmp_path):
    settings.STORAGES = settings.STORAGES | {"originals": env.storage_config(empty_bucket, temp_dir=tmp_path / "spool")}
    alice.upload(acme, images.png(40, 30), name="far away.png")
    answer = staff.get(address(acme.images.get()))
    assert Image.open(BytesIO(answer.content)).size == (40, 30)
    assert list((tmp_path / "spool").iterdir()) == []
