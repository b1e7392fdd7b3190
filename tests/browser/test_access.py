"""Accessibility: axe-core finds no serious issue on any page, in a theme and at a width each."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, WIDE, logged_in, shell
from tests.browser.test_life import upload
from tests.conftest import ROOT
from tests.support import images

pytestmark = pytest.mark.any_database

TABS = ("usage", "members", "settings", "keys", "history")
BULK_ACTIONS = ("Lock", "Edit metadata", "Copy to organization", "Move to trash")
AXE = ROOT / "tests" / "clients" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def pages(server):
    """Paths of all pages, each with content."""
    for number in range(4):
        upload(server, images.png(width=300, height=200, seed=50 + number), f"page {number}.png")
    ids = shell(
        server,
        """
from sourceimages import jobs; from sourceimages.jobs.selection import Selection; from sourceimages.models import *
from sourceimages.operations import *; from organizations.models import *; from organizations.audit import staff_actor
from organizations.operations import create_key
acme, ines = Organization.objects.get(name='acme'), User.objects.get(username='ines')
ids = list(acme.images.active().order_by('id').values_list('id', flat=True))
set_locked(acme.images.get(pk=ids[1]), True, actor=staff_actor(ines))
job = jobs.start_bulk_action('delete', Selection(acme, in_trash=False, ids=tuple(ids[:2])), actor=staff_actor(ines))
jobs.run(job.pk)
key, _ = create_key(ines, comment='a key', actor=staff_actor(ines))
print(ids[0], ids[1], ids[2], Tombstone.objects.latest('deleted_at').pk, job.pk, acme.pk, ines.pk,
    acme.files.first().pk, key.pk)
""",
    ).split()
    images_admin, organizations = "/admin/sourceimages", "/admin/organizations"
    return [
        "/admin/",
        f"{images_admin}/sourceimage/?organization=acme&view=grid",
        f"{images_admin}/sourceimage/?organization=acme&view=table",
        f"{images_admin}/sourceimage/?organization=acme&state=trash",
        f"{images_admin}/sourceimage/?organization=",
        *(f"{images_admin}/sourceimage/{key}/change/" for key in ids[:3]),
        f"{images_admin}/sourceimage/upload/?organization=acme",
        f"{images_admin}/tombstone/",
        f"{images_admin}/tombstone/{ids[3]}/change/",
        f"{organizations}/job/",
        f"{organizations}/job/{ids[4]}/change/",
        f"{organizations}/organization/",
        f"{organizations}/organization/add/",
        *(f"{organizations}/organization/{ids[5]}/{tab}/" for tab in TABS),
        f"{organizations}/user/",
        f"{organizations}/user/add/",
        f"{organizations}/user/{ids[6]}/change/",
        f"{organizations}/user/{ids[6]}/keys/{ids[8]}/",
        "/admin/second-factor/",
        f"{organizations}/auditevent/",
        "/admin/raw-tables/",
        f"{images_admin}/storedfile/{ids[7]}/change/",
        "/admin/password_change/",
    ]


def issues(page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:120]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]


SCHEMES = ("light", "dark")


@pytest.mark.parametrize(("viewport", "schemes"), [(WIDE, ["light"]), (NARROW, ["dark"])], ids=["1440", "390"])
def test_no_page_has_a_serious_issue(chromium, server, pages, node, viewport, schemes):
    found = {}
    with logged_in(chromium, server, viewport=viewport) as person:
        for address in pages:
            page = person.go(address)
            page.wait_for_load_state("load")
            assert person.errors == [], address
            found |= check(page, address, schemes)
            person.errors.clear()  # caused by axe-core itself
        for label in BULK_ACTIONS:  # the confirmation pages
            page = person.images("organization=acme&q=page&view=table")
            page.locator("[name=ids]").first.check()
            with page.expect_navigation():
                person.press(f"{label}…")
            expect(page.locator("#summary")).to_be_visible()
            found |= check(page, label, schemes)
            person.errors.clear()
        person.press("Log out")
        found |= check(person.go("/admin/login/"), "login", schemes)
    assert found == {}


def check(page, name: str, schemes: Sequence[str] = SCHEMES) -> dict[str, list[str]]:
    """Return the issues of the page per theme."""
    wrong = {}
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        page.evaluate(
            "Promise.all(document.getAnimations().map(one => one.finished))"
        )  # links have a transition of their color
        here = issues(page)
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            here.append("too wide")
        if here:
            wrong[f"{name} {scheme}"] = here
    return wrong


def test_issues_are_found(ines, node):
    """Proves that the test above can fail, in both themes."""
    page = ines.go("/admin/")
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', "
        "'<p class=faint>faint</p><img src=/static/backoffice/icon.svg><div class=long>long</div>');"
        "document.querySelector('.faint').style.color = 'light-dark(#fafafa, #1a2020)';"
        "document.querySelector('.long').style.width = '3000px'"
    )
    wrong = check(page, "start")
    assert list(wrong) == ["start light", "start dark"]
    for found in wrong.values():
        text = " ".join(found)
        assert "color-contrast" in text
        assert "image-alt" in text
        assert "too wide" in text


def test_by_keyboard_alone(ines, server):
    """To the content, to an image, and to locking it."""
    upload(server, images.png(seed=60), "keyboard.png")
    page = ines.images("organization=acme&q=keyboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-to-content-link"
    page.keyboard.press("Enter")
    tab_to(page, "keyboard.png")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")
    tab_to(page, "Lock…")
    page.keyboard.press("Enter")
    page.wait_for_url("**/bulk-action/")
    tab_to(page, "Lock: 1 image")
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")
    expect(page.locator("h1 + .badges")).to_contain_text("locked")


def tab_to(page, text: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if text in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"{text} cannot be reached by Tab")


def test_the_trash_has_its_own_sorting(ines, server):
    page = ines.images("organization=acme")
    page.get_by_label("Status").select_option("trash")
    page.wait_for_url("**state=trash**")
    assert page.get_by_label("Sort").input_value() == "deletedDate desc"


def test_the_login_is_a_narrow_card_on_wide_screens(chromium, server):
    page = chromium.new_page(viewport=WIDE)
    page.goto(f"{server.url}/admin/login/")
    box = page.locator("#container").bounding_box()
    page.close()
    assert box is not None
    assert box["width"] < 500


def test_rows_of_signing_keys_are_one_line_on_a_narrow_screen(ines, server):
    """At 390 pixels hashes and buttons do not wrap: the table is scrolled."""
    acme = shell(server, "from organizations.models import *; print(Organization.objects.get(name='acme').pk)")
    page = ines.go(f"/admin/organizations/organization/{acme}/keys/")
    page.set_viewport_size(NARROW)
    heights = page.locator("tbody tr").evaluate_all("rows => rows.map((row) => row.offsetHeight)")
    assert heights
    assert max(heights) < 80
