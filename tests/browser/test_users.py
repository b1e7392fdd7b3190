"""Organizations and users in the browser; and staff users with few roles."""

from datetime import UTC, datetime

import pyotp
import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, add_staff, logged_in, shell
from tests.browser.test_life import confirm, upload
from tests.support import images

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def staff_users(server):
    """Add the staff users reader and keeper to acme."""
    add_staff(server, "reader")
    add_staff(server, "keeper")
    upload(server, images.png(seed=30), "of acme.png")
    shell(
        server,
        """
from organizations.models import *; from organizations.operations import *; from organizations.audit import COMMAND
acme = Organization.objects.get(name='acme')
for name, roles in (('reader', ['read']), ('keeper', ['sourceimages:read', 'sourceimages:unlock'])):
    set_roles(acme, User.objects.get(username=name).pk, roles, comment='', actor=COMMAND)
""",
    )


def test_readers_can_view_and_keepers_can_lock(chromium, server, staff_users):
    with logged_in(chromium, server, "reader") as reader:
        page = reader.images("organization=acme&q=of")
        offered = page.get_by_role("group", name="Bulk actions").get_by_role("button").all_inner_texts()
        assert {label.strip(" …") for label in offered} == {"Copy to organization", "Download as ZIP"}
        assert page.get_by_role("link", name="Upload").count() == 0
        assert page.get_by_role("link", name="Audit log").count() == 0
        page.get_by_role("link", name="of acme.png").click()
        assert page.get_by_role("button", name="Save metadata").count() == 0
    with logged_in(chromium, server, "keeper") as keeper:
        page = keeper.images("organization=acme&q=of")
        page.get_by_role("link", name="of acme.png").click()
        assert page.get_by_role("button", name="Move to trash").count() == 0
        keeper.press("Lock…")
        confirm(keeper, "Lock")
        expect(page.locator("h1 + .badges")).to_contain_text("locked")
        assert keeper.errors == []


def test_members_keys_and_options(ines, server):
    page = ines.go("/admin/organizations/organization/")
    page.get_by_role("link", name="acme", exact=True).first.click()
    page.get_by_role("link", name="Members").click()
    page.get_by_label("User", exact=True).fill("dora@example.org")
    page.locator("section").filter(has_text="Add member").locator("[value=read]").check()
    page.get_by_role("button", name="Add member").click()
    key = page.locator(".secret").inner_text()
    assert requests.get(f"{server.url}/sourceimages/acme", headers={"Api-Key": key}).status_code == 200
    page.reload()
    assert key not in page.content()

    page.get_by_role("link", name="Signing keys").click()
    rows = page.get_by_role("table", name="Signing keys").locator("tbody tr")
    before = rows.count()
    ines.press("Add key")
    assert rows.count() == before + 1
    rows.last.get_by_role("button", name="Show").click()
    assert len(page.locator(".secret").inner_text()) > 20
    rows.last.get_by_text("Remove").first.click()
    rows.last.get_by_role("button", name="Remove key").click()
    assert rows.count() == before

    page.get_by_role("link", name="Options").click()
    page.get_by_label("protect_dynamic_stack").select_option("true")
    ines.press("Save options")
    shown = server.session().get(f"{server.url}/organizations/acme").json()
    assert shown["options"]["protect_dynamic_stack"] is True


def test_roles_change_and_the_last_admin_stays(ines, server):
    ines.expected = "400"
    add_staff(server, "helper")
    page = ines.go("/admin/organizations/organization/?q=acme")
    page.get_by_role("link", name="acme", exact=True).first.click()
    page.get_by_role("link", name="Members").click()
    page.get_by_label("User", exact=True).fill("helper")
    page.locator("section").filter(has_text="Add member").locator("[value=read]").check()
    page.get_by_role("button", name="Add member").click()
    expect(page.locator(".messagelist")).to_contain_text("is now a member")

    def member(name: str):
        return page.locator("main section").filter(has=page.get_by_role("heading", name=name))

    member("helper").locator("summary").first.click()
    member("helper").locator("[name=roles][value=read]").uncheck()
    member("helper").locator("[name=roles][value=write]").check()
    member("helper").get_by_role("button", name="Save roles").click()
    expect(page.locator(".messagelist")).to_contain_text("Roles of helper updated")
    expect(member("helper").locator(".label.protected")).to_have_text(["write"])

    member("alice@example.org").locator("summary").first.click()
    member("alice@example.org").locator("[name=roles][value=admin]").uncheck()
    member("alice@example.org").locator("[name=roles][value=read]").check()
    member("alice@example.org").get_by_role("button", name="Save roles").click()
    expect(page.get_by_role("alert")).to_contain_text("last admin")
    page.reload()
    page.goto(page.url)
    expect(member("alice@example.org").locator(".label.protected")).to_have_text(["admin"])
    assert server.session().get(f"{server.url}/organizations/acme/memberships").status_code == 200


def test_an_api_key_is_created_shown_once_and_revoked(ines, server):
    page = ines.go("/admin/organizations/user/?q=ines")
    page.get_by_role("link", name="ines", exact=True).first.click()
    page.get_by_label("Comment").fill("a script")
    ines.press("Create API key")
    key = page.locator(".secret").inner_text()
    assert requests.get(f"{server.url}/user", headers={"Api-Key": key}).status_code == 200
    page.goto(page.url)
    assert key not in page.content()
    page.get_by_role("link", name="a script", exact=True).click()
    page.get_by_label("Allowed IP addresses").fill("192.0.2.0/24")
    page.get_by_label("Expires (UTC)").fill("2126-01-31T09:30")
    ines.press("Save")
    expect(page.locator("#summary")).to_contain_text("Clients at other addresses")
    ines.press("Change restrictions")
    expect(page.get_by_role("table", name="API keys")).to_contain_text("Expires 2126-01-31 09:30")
    refused = requests.get(f"{server.url}/user", headers={"Api-Key": key})
    assert (refused.status_code, refused.json()["reason"]) == (401, "ip_not_allowed")
    page.get_by_role("link", name="Revoke").first.click()
    ines.press("Revoke key")
    assert requests.get(f"{server.url}/user", headers={"Api-Key": key}).status_code == 403


def test_a_second_factor_is_set_up_asked_for_and_removed(chromium, server):
    add_staff(server, "otto")
    with logged_in(chromium, server, "otto") as otto:
        page = otto.page
        page.get_by_role("link", name="otto").click()
        page.get_by_role("link", name="Set up").click()
        otto.press("Set up")
        box = page.locator("svg.qr").bounding_box()
        assert box is not None
        assert box["width"] == box["height"] > 150
        totp = pyotp.TOTP(page.locator(".secret").inner_text().replace(" ", ""))
        # The codes of three time steps are accepted, each once and in this order.
        codes = [totp.at(datetime.now(UTC), counter_offset=offset) for offset in (-1, 0, 1)]
        page.get_by_label("Code").fill(codes[0])
        otto.press("Confirm")
        expect(page.locator(".messagelist")).to_contain_text("Your second factor is active")
        otto.press("Log out")
        otto.go("/admin/login/?next=/admin/organizations/user/")
        page.get_by_label("Username").fill("otto")
        page.get_by_label("Password").fill(PASSWORD)
        otto.press("Log in")
        expect(page.get_by_label("Code")).to_be_focused()
        page.get_by_label("Code").fill(codes[1])
        otto.press("Log in")
        expect(page).to_have_url(f"{server.url}/admin/organizations/user/")
        otto.go("/admin/second-factor/")
        page.get_by_text("Remove").first.click()
        page.get_by_label("Code").fill(codes[2])
        otto.press("Remove second factor")
        expect(page.locator(".messagelist")).to_contain_text("Your second factor was removed")
        assert otto.errors == []  # the Content-Security-Policy allows the QR code
