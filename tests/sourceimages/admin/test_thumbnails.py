"""Previews over HTTP: rendered by us, private, and only with permission."""

from io import BytesIO

import pytest
from PIL import Image

from organizations.permissions import Role
from rokka.core import env
from sourceimages import storage, thumbnails
from sourceimages.operations import set_protected
from tests.sourceimages.admin.conftest import IMAGES_URL
from tests.support import images


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
    assert answer["Cache-Control"].startswith("private")
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


def test_without_a_preview_a_placeholder_is_shown(staff, acme, image, monkeypatch):
    monkeypatch.setattr(thumbnails, "preview", lambda *_, **__: None)
    answer = staff.get(address(image))
    assert (answer.status_code, answer["Location"]) == (302, "/static/sourceimages/no-preview.svg")


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
