"""Uploads in the admin: one request per file, with a JSON response."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from organizations.models import AuditEvent
from organizations.permissions import Role
from sourceimages.operations import delete_image
from tests.sourceimages.admin.conftest import IMAGES_URL, everything, logged_in, page_of, text_of
from tests.support import images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

UPLOAD = IMAGES_URL + "upload/"
UPLOADERS = {Role.ADMIN, Role.WRITE, Role.IMAGES_WRITE, Role.UPLOAD}


def put(browser, content, *, name="harbour.png", organization="acme", **headers):
    body = encode_multipart(BOUNDARY, {"filedata": SimpleUploadedFile(name, content)})
    return browser.put(f"{UPLOAD}{organization}/", body, content_type=MULTIPART_CONTENT, headers=headers)


def test_a_file_is_uploaded(staff, ines, acme):
    answer = put(staff, images.png())
    image = acme.images.get()
    assert answer.status_code == 200
    assert answer.json() == {"items": [{"name": "harbour.png", "created": True, "href": page_of(image)}]}
    event = AuditEvent.objects.filter(target=image.hash).first()
    assert (event.user, event.source) == (ines, "staff")
    assert put(staff, images.png()).json()["items"][0]["created"] is False
    assert acme.images.count() == 1


@pytest.mark.parametrize(("content", "name"), [(b"", "empty.png"), (b"\x00\xff" * 50, "noise.png")])
def test_a_file_that_is_not_an_image_is_refused_in_json(staff, acme, content, name):
    before = everything()
    answer = put(staff, content, name=name)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["error"]
    assert everything() == before


def test_a_body_that_is_not_a_form_is_refused(staff, acme):
    before = everything()
    answer = staff.put(f"{UPLOAD}acme/", b"{}", content_type="application/json")
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/json"
    assert everything() == before


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_other_methods_do_nothing(staff, acme, method):
    before = everything()
    assert getattr(staff, method)(f"{UPLOAD}acme/").status_code == 400
    assert everything() == before


@pytest.mark.parametrize("role", Role)
def test_uploading_requires_permission(colleague, acme, role):
    browser = colleague(role)
    before = everything()
    page, answer = browser.get(UPLOAD, {"organization": "acme"}), put(browser, images.png())
    if role in UPLOADERS:
        assert (page.status_code, answer.status_code, acme.images.count()) == (200, 200, 1)
    else:
        assert (page.status_code, answer.status_code) == (403, 403)
        assert everything() == before


def test_duplicates_look_new_without_permission_to_read(colleague, acme, image):
    (item,) = put(colleague(Role.UPLOAD), images.png()).json()["items"]
    assert item == {"name": "harbour.png", "created": True, "href": ""}
    assert acme.images.count() == 1


@pytest.mark.parametrize("organization", ["acme", "missing"])
def test_other_organizations_are_not_found(outsider, acme, organization):
    before = everything()
    assert put(outsider, images.png(), organization=organization).status_code == 404
    assert outsider.get(UPLOAD, {"organization": organization}).status_code == 404
    assert everything() == before


def test_a_put_requires_the_csrf_token(ines, acme):
    strict = logged_in(ines, enforce_csrf_checks=True)
    before = everything()
    assert put(strict, images.png()).status_code == 403
    assert everything() == before
    strict.get(UPLOAD, {"organization": "acme"})
    token = strict.cookies["csrftoken"].value
    assert put(strict, images.png(), **{"X-CSRFToken": token}).status_code == 200
    assert acme.images.count() == 1


def test_users_who_are_not_logged_in_upload_nothing(client, acme):
    before = everything()
    assert put(client, images.png()).headers["Location"].startswith("/admin/login/")
    assert everything() == before


def test_an_image_in_the_trash_is_uploaded_again(staff, acme, image, alice):
    delete_image(image, actor=alice.actor)
    assert put(staff, images.png()).json()["items"][0]["created"] is True
    assert acme.images.active().count() == 1


def test_the_page_has_the_upload_url(staff, acme):
    assert f'data-upload="{UPLOAD}acme/"' in text_of(staff.get(UPLOAD, {"organization": "acme"}))
