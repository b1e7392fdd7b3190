"""Every page by everybody: no serious fault that axe-core knows of, at both widths, in the light and in the dark."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, ROOT, WIDE, shell, somebody
from tests.browser.test_life import upload
from tests.support import images

pytestmark = pytest.mark.any_database

TABS = ("usage", "members", "settings", "keys", "history")
ASKED = ("Lock", "Set a metadata field", "Copy to an organization", "Move to the trash")
AXE = ROOT / "tests" / "clients" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def pages(server):
    """Addresses of all pages, with something on each."""
    for number in range(4):
        upload(server, images.png(width=300, height=200, seed=50 + number), f"page {number}.png")
    ids = shell(
        server,
        """
from sourceimages import jobs; from sourceimages.jobs.selection import Selection; from sourceimages.models import *
from sourceimages.operations import *; from organizations.models import *; from organizations.audit import staff
acme, ines = Organization.objects.get(name='acme'), User.objects.get(username='ines')
ids = list(acme.images.living().order_by('id').values_list('id', flat=True))
set_locked(acme.images.get(pk=ids[1]), True, actor=staff(ines))
job = jobs.start_bulk_action('delete', Selection(acme, in_trash=False, ids=tuple(ids[:2])), actor=staff(ines))
jobs.run(job.pk)
print(ids[0], ids[1], ids[2], Tombstone.objects.latest('deleted_at').pk, job.pk, acme.pk, ines.pk)
""",
    ).split()
    pictures, organizations = "/admin/sourceimages", "/admin/organizations"
    return [
        "/admin/",
        f"{pictures}/sourceimage/?organization=acme&view=grid",
        f"{pictures}/sourceimage/?organization=acme&view=table",
        f"{pictures}/sourceimage/?organization=acme&state=trash",
        f"{pictures}/sourceimage/?organization=",
        *(f"{pictures}/sourceimage/{key}/change/" for key in ids[:3]),
        f"{pictures}/sourceimage/upload/?organization=acme",
        f"{pictures}/tombstone/",
        f"{pictures}/tombstone/{ids[3]}/change/",
        f"{organizations}/job/",
        f"{organizations}/job/{ids[4]}/change/",
        f"{organizations}/organization/",
        f"{organizations}/organization/add/",
        *(f"{organizations}/organization/{ids[5]}/{tab}/" for tab in TABS),
        f"{organizations}/user/",
        f"{organizations}/user/add/",
        f"{organizations}/user/{ids[6]}/change/",
        f"{organizations}/auditevent/",
        "/admin/records/",
        "/admin/password_change/",
    ]


def faults(page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:120]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


SCHEMES = ("light", "dark")


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1440", "390"])
def test_no_page_has_a_serious_fault(chromium, server, pages, node, viewport):
    found = {}
    with somebody(chromium, server, viewport=viewport) as person:
        for address in pages:
            page = person.go(address)
            page.wait_for_load_state("networkidle")
            assert person.complaints == [], address
            found |= look(page, address)
            person.complaints.clear()  # of what axe-core itself does
        for act in ASKED:  # the page that asks, for each kind that has something of its own
            page = person.pictures("organization=acme&q=page&view=table")
            page.locator("[name=ids]").first.check()
            with page.expect_navigation():
                person.press(f"{act} …")
            expect(page.locator("#summary")).to_be_visible()
            found |= look(page, act)
            person.complaints.clear()
        person.press("Log out")
        found |= look(person.go("/admin/login/"), "login")
    assert found == {}


def look(page, name: str) -> dict[str, list[str]]:
    """What is wrong with the page, in the light and in the dark."""
    wrong = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")  # links change colour slowly
        here = faults(page)
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            here.append("it is too wide")
        if here:
            wrong[f"{name} {scheme}"] = here
    return wrong


def test_faults_are_seen(ines, node):
    """What the test above relies on: a page with faults has some, in the dark, too."""
    page = ines.go("/admin/")
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', "
        "'<p class=faint>faint</p><img src=/static/backoffice/icon.svg><div class=long>long</div>');"
        "document.querySelector('.faint').style.color = 'light-dark(#fafafa, #1a2020)';"
        "document.querySelector('.long').style.width = '3000px'"
    )
    wrong = look(page, "start")
    assert list(wrong) == ["start light", "start dark"]
    for found in wrong.values():
        text = " ".join(found)
        assert "color-contrast" in text
        assert "image-alt" in text
        assert "it is too wide" in text


def test_by_keyboard_alone(ines, server):
    """To the content, to a picture, and through its lock."""
    upload(server, images.png(seed=60), "keyboard.png")
    page = ines.pictures("organization=acme&q=keyboard")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-to-content-link"
    page.keyboard.press("Enter")
    tab_to(page, "keyboard.png")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")
    tab_to(page, "Lock …")
    page.keyboard.press("Enter")
    page.wait_for_url("**/bulk-action/")
    tab_to(page, "Lock: 1 picture")
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")
    expect(page.locator("h1 + .states")).to_contain_text("locked")


def tab_to(page, text: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if text in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"{text} cannot be reached by Tab")


def test_the_trash_has_an_order_of_its_own(ines, server):
    page = ines.pictures("organization=acme")
    page.get_by_label("State").select_option("trash")
    page.wait_for_url("**state=trash**")
    assert page.get_by_label("Order").input_value() == "deletedDate desc"
