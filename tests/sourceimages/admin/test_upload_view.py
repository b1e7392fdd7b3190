"""Uploading in the back-office: one request a file, answered in JSON."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from organizations.models import AuditEvent
from organizations.permissions import Role
from sourceimages.operations import delete_image
from tests.sourceimages.admin.conftest import PICTURES, everything, logged_in, page_of, text_of
from tests.support import images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

UPLOAD = PICTURES + "upload/"
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
def test_what_is_no_picture_is_refused_in_json(staff, acme, content, name):
    before = everything()
    answer = put(staff, content, name=name)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["error"]
    assert everything() == before


def test_a_body_that_is_no_form_is_refused(staff, acme):
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
def test_only_who_may_upload_does(colleague, acme, role):
    browser = colleague(role)
    before = everything()
    page, answer = browser.get(UPLOAD, {"organization": "acme"}), put(browser, images.png())
    if role in UPLOADERS:
        assert (page.status_code, answer.status_code, acme.images.count()) == (200, 200, 1)
    else:
        assert (page.status_code, answer.status_code) == (403, 403)
        assert everything() == before


def test_who_may_not_read_learns_nothing_of_what_was_there(colleague, acme, image):
    (item,) = put(colleague(Role.UPLOAD), images.png()).json()["items"]
    assert item == {"name": "harbour.png", "created": True, "href": ""}
    assert acme.images.count() == 1


@pytest.mark.parametrize("organization", ["acme", "nobody"])
def test_there_is_no_organization_but_ones_own(outsider, acme, organization):
    before = everything()
    assert put(outsider, images.png(), organization=organization).status_code == 404
    assert outsider.get(UPLOAD, {"organization": organization}).status_code == 404
    assert everything() == before


def test_a_put_from_elsewhere_is_refused(ines, acme):
    strict = logged_in(ines, enforce_csrf_checks=True)
    before = everything()
    assert put(strict, images.png()).status_code == 403
    assert everything() == before
    strict.get(UPLOAD, {"organization": "acme"})
    token = strict.cookies["csrftoken"].value
    assert put(strict, images.png(), **{"X-CSRFToken": token}).status_code == 200
    assert acme.images.count() == 1


def test_who_is_not_logged_in_uploads_nothing(client, acme):
    before = everything()
    assert put(client, images.png()).headers["Location"].startswith("/admin/login/")
    assert everything() == before


def test_what_lies_in_the_trash_comes_anew(staff, acme, image, alice):
    delete_image(image, actor=alice.actor)
    assert put(staff, images.png()).json()["items"][0]["created"] is True
    assert acme.images.active().count() == 1


def test_the_page_says_where_files_go(staff, acme):
    assert f'data-upload="{UPLOAD}acme/"' in text_of(staff.get(UPLOAD, {"organization": "acme"}))
