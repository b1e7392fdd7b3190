"""Organizations and users in the browser; and staff users, who see only their organizations."""

import json

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import add_staff, logged_in, shell
from tests.browser.test_access import TABS
from tests.browser.test_life import confirm, upload
from tests.support import images

pytestmark = pytest.mark.any_database

ACT = "/admin/sourceimages/sourceimage/bulk-action/"


@pytest.fixture(scope="module")
def others(server):
    """Add the staff users reader and keeper to acme; return paths of another organization."""
    add_staff(server, "reader")
    add_staff(server, "keeper")
    upload(server, images.png(seed=30), "of acme.png")
    made = shell(
        server,
        """
import json
from organizations.models import *; from organizations.operations import *; from organizations.audit import COMMAND
acme = Organization.objects.get(name='acme')
for name, roles in (('reader', ['read']), ('keeper', ['sourceimages:read', 'sourceimages:unlock'])):
    set_roles(acme, User.objects.get(username=name).pk, roles, comment='', actor=COMMAND)
new = create_organization_with_admin('foreign', email='f@example.org', actor=COMMAND)
print(json.dumps({'key': new.api_key, 'organization': str(new.organization.pk)}))
""",
    )
    foreign = json.loads(made)
    session = requests.Session()
    session.headers["Api-Key"] = foreign["key"]
    files = {"filedata": ("secret.png", images.png(seed=31))}
    image = session.post(f"{server.url}/sourceimages/foreign", files=files).json()["items"][0]
    session.delete(f"{server.url}/sourceimages/foreign/{image['hash']}")
    session.post(f"{server.url}/sourceimages/foreign", files={"filedata": ("secret.png", images.png(seed=32))})
    job = session.post(f"{server.url}/jobs/foreign", json={"kind": "restore_deletion"}).json()
    ids = shell(
        server,
        "from sourceimages.models import *; "
        "print(SourceImage.objects.filter(organization__name='foreign').latest('id').pk, "
        "Tombstone.objects.get(organization__name='foreign').pk)",
    ).split()
    images_admin, organizations = "/admin/sourceimages", "/admin/organizations"
    return [
        f"{images_admin}/sourceimage/?organization=foreign",
        f"{images_admin}/sourceimage/{ids[0]}/change/",
        f"{images_admin}/sourceimage/{ids[0]}/download/",
        f"{images_admin}/sourceimage/{ids[0]}/preview/small/",
        f"{images_admin}/sourceimage/counts/?organization=foreign",
        f"{images_admin}/sourceimage/upload/?organization=foreign",
        f"{images_admin}/tombstone/{ids[1]}/change/",
        f"{organizations}/job/{job['id']}/change/",
        *(f"{organizations}/organization/{foreign['organization']}/{tab}/" for tab in (*TABS, "change")),
    ]


def test_staff_of_one_organization_see_nothing_of_another(chromium, server, others, ines):
    for address in others:  # superusers can view them
        assert ines.page.request.get(server.url + address).ok, address
    with logged_in(chromium, server, "reader") as reader:
        for address in others:
            answer = reader.page.request.get(server.url + address)
            assert answer.status in (400, 403, 404), address
            assert b"secret.png" not in answer.body(), address
        page = reader.images("organization=")
        expect(page.locator("main")).to_contain_text("of acme.png")
        expect(page.locator("main")).not_to_contain_text("secret.png")
        assert "foreign" not in page.get_by_label("Organization").inner_text()
        assert page.get_by_role("link", name="Audit log").count() == 0
        page = reader.go("/admin/organizations/user/")
        expect(page.locator("main")).to_contain_text("reader@example.org")
        expect(page.locator("main")).not_to_contain_text("ines@example.org")
        assert reader.errors == []


@pytest.mark.parametrize("organization", ["acme", "foreign"])
def test_bulk_actions_do_not_change_images_of_others(chromium, server, others, organization):
    """Neither as images of the user's organization, nor as those of the other one."""
    key = others[1].split("/")[-3]
    with logged_in(chromium, server, "keeper") as keeper:
        page = keeper.images("organization=acme")
        token = page.locator("#selection [name=csrfmiddlewaretoken]").get_attribute("value")
        form = {"csrfmiddlewaretoken": token, "organization": organization, "kind": "lock", "ids": key}
        answer = page.request.post(f"{server.url}{ACT}", form=form | {"confirmed": "yes"})
        assert answer.status in (400, 403, 404)
        assert "secret.png" not in answer.text()
    locked = f"from sourceimages.models import *; print(SourceImage.objects.get(pk={key}).locked)"
    assert shell(server, locked) == "False"


def test_readers_can_view_and_keepers_can_lock(chromium, server, others):
    with logged_in(chromium, server, "reader") as reader:
        page = reader.images("organization=acme&q=of")
        offered = page.get_by_role("group", name="Bulk actions").get_by_role("button").all_inner_texts()
        assert {label.strip(" …") for label in offered} == {"Copy to organization", "Download as ZIP"}
        assert page.get_by_role("link", name="Upload").count() == 0
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
    page.get_by_role("button", name="Add", exact=True).click()
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
    page.get_by_role("button", name="Add", exact=True).click()
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
    page.get_by_text("Revoke").first.click()
    ines.press("Revoke key")
    assert requests.get(f"{server.url}/user", headers={"Api-Key": key}).status_code == 403
