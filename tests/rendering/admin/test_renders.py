"""Renders on the page of an image: shown, copied, signed and purged, by those who may."""

import re
from html import unescape

import pytest
from django.test import Client

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Organization, SigningKey
from organizations.operations import signing_keys
from organizations.permissions import Role
from sourceimages.operations import delete_image, set_protected
from tests.sourceimages.admin.conftest import page_of, text_of

pytestmark = pytest.mark.any_database

SRC = re.compile(r'<img class="preview" src="(/render/[^"]+)"')
COPIED = re.compile(r'data-copy="(http[^"]+)"')
SIGN = {"action": "sign_url", "stack": "dynamic", "format": "jpg", "seconds": "3600"}
READERS = {Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ, Role.IMAGES_WRITE, Role.IMAGES_READ}


@pytest.fixture
def protected(photo, alice):
    return set_protected(photo, True, delete_previous=True, actor=alice.actor).image


def shown(response) -> str:
    """The URL of the render that the page shows; empty if it shows none."""
    found = SRC.search(text_of(response))
    return unescape(found[1]) if found else ""


def copied(response) -> list[str]:
    """The render URLs that can be copied."""
    found = [unescape(url) for url in COPIED.findall(text_of(response))]
    return [url for url in found if "/sourceimages/" not in url]


def loaded(path: str, host: str = "testserver") -> int:
    return Client().get(path, headers={"host": host}).status_code


def test_a_resize_is_shown_with_its_url(staff, photo):
    page = staff.get(page_of(photo))
    path = f"/dynamic/resize-width-800/{photo.short_hash}.jpg"
    assert shown(page) == f"/render/acme{path}"
    assert loaded(shown(page)) == 200
    assert copied(page) == [f"http://acme.localhost{path}"]


def test_the_url_has_the_port_of_a_standalone_server(staff, photo):
    page = staff.get(page_of(photo), headers={"host": "localhost:8123"})
    assert copied(page)[0].startswith("http://acme.localhost:8123/dynamic/")


@pytest.mark.parametrize(
    ("domain", "start"),
    [("img.example.org", "https://acme.img.example.org/dynamic/"), ("", "http://testserver/render/acme/dynamic/")],
)
def test_the_url_in_production(staff, photo, settings, domain, start):
    settings.STANDALONE, settings.RENDER_DOMAIN = False, domain
    assert copied(staff.get(page_of(photo)))[0].startswith(start)


def test_stack_and_format_are_chosen(staff, photo, make_stack):
    make_stack("thumb", [{"name": "resize", "options": {"width": 20}}])
    make_stack("_preview_of_someone", [])
    page = staff.get(page_of(photo), {"stack": "thumb", "format": "webp"})
    assert shown(page) == f"/render/acme/thumb/{photo.short_hash}.webp"
    assert loaded(shown(page)) == 200
    assert page.context["render"].stacks == ["dynamic", "thumb"]


@pytest.mark.parametrize("query", [{"stack": "nothing"}, {"format": "exe"}, {"stack": "../x"}])
def test_an_invalid_choice_shows_the_default(staff, photo, query):
    assert shown(staff.get(page_of(photo), query)).endswith(f"/resize-width-800/{photo.short_hash}.jpg")


def test_stacks_are_hidden_from_roles_that_can_not_see_them(colleague, photo, make_stack):
    make_stack("thumb", [])
    page = colleague(Role.IMAGES_READ).get(page_of(photo), {"stack": "thumb"})
    assert page.context["render"].stacks == ["dynamic"]
    assert "thumb" not in shown(page)


def test_images_that_can_not_be_rendered_have_no_section(staff, acme, alice, photo):
    alice.upload(acme, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n", name="a.eps")
    eps = acme.images.get(format="eps")
    assert "Show render" not in text_of(staff.get(page_of(eps)))
    delete_image(photo, actor=alice.actor)
    assert "Show render" not in text_of(staff.get(page_of(photo)))


# --- Signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", sorted(READERS))
def test_a_protected_image_is_shown_to_those_who_may_see_and_sign_it(colleague, protected, role):
    page = colleague(role).get(page_of(protected))
    may = role not in (Role.IMAGES_WRITE, Role.IMAGES_READ)
    assert bool(shown(page)) == may
    assert "This URL must be signed." in text_of(page)
    if may:
        assert loaded(shown(page)) == 200
        assert loaded(shown(page).partition("?")[0]) == 403
    assert "sig=" not in copied(page)[0]


def test_a_protected_stack_is_shown_with_a_signature(staff, photo, make_stack):
    make_stack("secret", {"operations": [], "options": {"protected": True}})
    page = staff.get(page_of(photo), {"stack": "secret"})
    assert loaded(shown(page)) == 200
    assert "sig=" in shown(page)


@pytest.mark.parametrize("seconds", ["3600", "0"])
def test_a_url_is_signed_on_request(colleague, protected, seconds):
    page = colleague(Role.READ).post(page_of(protected), {**SIGN, "seconds": seconds})
    assert page.status_code == 200
    url, signed = copied(page)
    assert signed.startswith(f"{url}?")
    assert ("until" in signed) == (seconds == "3600")
    path = signed.removeprefix("http://acme.localhost")
    assert loaded(path, "acme.localhost") == 200
    assert loaded(path.partition("?")[0], "acme.localhost") == 403
    assert SigningKey.objects.get().accessed is not None


@pytest.mark.parametrize("role", [Role.IMAGES_READ, Role.IMAGES_WRITE])
def test_signing_requires_permission(colleague, photo, role):
    browser = colleague(role)
    assert "Sign URL" not in text_of(browser.get(page_of(photo)))
    answer = browser.post(page_of(photo), SIGN)
    assert answer.status_code == 403
    assert "sig=" not in text_of(answer)


@pytest.mark.parametrize("change", [{"seconds": "5"}, {"seconds": ""}, {"format": "exe"}])
def test_an_invalid_form_signs_nothing(staff, photo, change):
    answer = staff.post(page_of(photo), SIGN | change)
    assert answer.status_code == 400
    assert "sig=" not in text_of(answer)


def test_without_a_signing_key_nothing_is_signed(staff, acme, protected):
    SigningKey.objects.all().delete()
    assert "has no signing key" in text_of(staff.get(page_of(protected)))
    answer = staff.post(page_of(protected), SIGN)
    assert answer.status_code == 400
    assert shown(answer) == ""


def test_the_newest_key_signs(staff, acme: Organization, protected):
    newest = signing_keys.add_signing_key(acme, actor=COMMAND)
    staff.post(page_of(protected), SIGN)
    assert [key.pk for key in SigningKey.objects.exclude(accessed=None)] == [newest.pk]


# --- Purging ----------------------------------------------------------------------------------------------------------


def renders_in(folder) -> int:
    return sum(1 for path in folder.rglob("*.jpg") if ".drafts" not in path.parts)


def test_renders_are_purged(colleague, photo, render_cache):
    browser = colleague(Role.WRITE)
    loaded(shown(browser.get(page_of(photo))))
    assert renders_in(render_cache) == 1
    answer = browser.post(page_of(photo), {"action": "purge_renders"}, follow=True)
    assert "1 render purged." in text_of(answer)
    assert renders_in(render_cache) == 0
    event = AuditEvent.objects.get(action="renders.purged")
    assert (event.source, event.target, event.count) == ("staff", photo.hash, 1)


@pytest.mark.parametrize("role", [Role.READ, Role.IMAGES_READ])
def test_purging_requires_permission(colleague, photo, render_cache, role):
    browser = colleague(role)
    page = browser.get(page_of(photo))
    loaded(shown(page))
    assert "Purge renders" not in text_of(page)
    assert browser.post(page_of(photo), {"action": "purge_renders"}).status_code == 403
    assert renders_in(render_cache) == 1


def test_staff_of_other_organizations_can_not_sign_or_purge(outsider, photo, render_cache):
    loaded(f"/render/acme/dynamic/resize-width-20/{photo.hash}.jpg")
    for data in (SIGN, {"action": "purge_renders"}):
        answer = outsider.post(page_of(photo), data)
        assert answer.status_code == 404
        assert "sig=" not in text_of(answer)
    assert renders_in(render_cache) == 1
