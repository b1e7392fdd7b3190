"""A picture's life in the back-office: upload, look, lock, delete, restore; one by one and two thousand at once."""

import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import shell
from tests.support import images

pytestmark = pytest.mark.any_database

MANY = 1000  # more than are done at once, and few enough for the time that a request has for them


def upload(server, content: bytes, name: str, organization: str = "acme") -> dict:
    answer = server.session().post(f"{server.url}/sourceimages/{organization}", files={"filedata": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]


def found(person) -> int:
    return int(person.page.locator("[data-total]").inner_text().replace(",", ""))


def confirm(person, label: str) -> None:
    person.page.get_by_role("button", name=re.compile(f"^{label}: ")).click()
    person.page.wait_for_load_state()


def test_locked_refused_unlocked_deleted_and_restored(ines, server):
    ines.expected = "400"  # the browser mentions refusals
    image = upload(server, images.png(seed=1), "harbour at night.png")
    page = ines.images("organization=acme&q=harb")
    page.get_by_role("link", name="harbour at night.png").click()
    ines.press("Lock …")
    confirm(ines, "Lock")
    expect(page.locator("h1 + .states")).to_contain_text("locked")

    ines.press("Move to the trash …")
    expect(page.locator("#summary")).to_contain_text("1 locked")
    expect(page.get_by_role("button", name="Move to the trash: 0 pictures")).to_be_disabled()
    page.eval_on_selector("button[name=confirmed]", "button => { button.disabled = false }")
    confirm(ines, "Move to the trash")
    expect(page.get_by_role("alert")).to_contain_text("is locked. Locked images can't be deleted or changed")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").json()["locked"] is True
    page.get_by_role("link", name="Cancel").click()
    ines.press("Unlock …")
    confirm(ines, "Unlock")
    ines.press("Move to the trash …")
    confirm(ines, "Move to the trash")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").status_code == 404

    ines.go("/admin/sourceimages/tombstone/")
    page.get_by_role("link", name=re.compile("^20")).first.click()
    expect(page.locator("main")).to_contain_text("harbour at night.png")
    ines.press("Restore all of it …")
    ines.press("Restore all of it")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").status_code == 200

    ines.images(f"organization=acme&q={image['short_hash']}")
    page.get_by_role("link", name="harbour at night.png").click()
    history = page.get_by_role("table", name="What was done to this picture").inner_text()
    assert [verb for verb in ("image.locked", "image.unlocked", "image.deleted") if verb not in history] == []
    assert "ines" in history


def test_everything_is_deleted_as_a_job_and_brought_back(ines, server):
    shell(
        server,
        "from tests.support import bulk_data; from organizations.models import *; "
        "from organizations.usage import counters; "
        f"o = Organization.objects.create(name='many', display_name='Many'); bulk_data.make(o, {MANY}, first=900001); "
        "UsageCounter.objects.bulk_create([UsageCounter(organization=o, slot=s) for s in range(UsageCounter.SLOTS)]); "
        "counters.recount(o, lambda: counters.Totals(images=o.images.active().count(), bytes=0))",
    )
    ines.expected = "503"  # of bytes that these never had
    page = ines.images("organization=many")
    assert found(ines) == MANY
    page.get_by_label(re.compile("that match")).check()
    ines.press("Move to the trash …")
    expect(page.locator("#summary")).to_contain_text(str(MANY))
    confirm(ines, "Move to the trash")
    expect(page.locator("#progress")).to_contain_text("done", timeout=90_000)
    expect(page.locator("#progress")).to_contain_text(f"{MANY} of {MANY}")
    job = page.url
    ines.images("organization=many")
    expect(page.locator("main")).to_contain_text("There is no picture yet")

    page.goto(job)
    page.get_by_role("link", name="Undo it").click()
    ines.press("Restore all of it …")
    ines.press("Restore all of it")
    page.get_by_role("link", name="See the job").click()
    expect(page.locator("#progress")).to_contain_text("done", timeout=90_000)
    ines.images("organization=many")
    assert found(ines) == MANY


def test_some_of_what_was_deleted_comes_back(ines, server):
    names = [f"ticked {number}.png" for number in range(3)]
    for number, name in enumerate(names):
        upload(server, images.png(seed=100 + number), name)
    page = ines.images("organization=acme&q=ticked&view=table")
    page.get_by_label("tick this page").check()
    expect(page.locator("[data-ticked]")).to_have_text("3 ticked")
    ines.press("Move to the trash …")
    confirm(ines, "Move to the trash")
    expect(page.locator(".messagelist")).to_contain_text("3 deleted")
    ines.go("/admin/sourceimages/tombstone/")
    page.get_by_role("link", name=re.compile("^20")).first.click()
    page.get_by_label("tick ticked 1.png").check()
    ines.press("Restore what is ticked …")
    confirm(ines, "Restore")
    ines.images("organization=acme&q=ticked")
    assert found(ines) == 1


def test_files_are_dropped_and_chosen(ines, server, tmp_path):
    ines.expected = "400"
    (tmp_path / "good.png").write_bytes(images.png(seed=7))
    (tmp_path / "program.exe").write_bytes(b"MZ\0\1 nothing that is kept")
    page = ines.go("/admin/sourceimages/sourceimage/upload/?organization=acme")
    page.get_by_label("Pictures", exact=True).set_input_files([tmp_path / "good.png", tmp_path / "program.exe"])
    expect(page.locator("#said")).to_have_text("1 uploaded, 1 refused")
    expect(page.locator(".uploads .error")).to_contain_text("program.exe")
    expect(page.locator(".uploads progress")).to_have_count(0)
    expect(page.locator(".uploads a")).to_have_text(["good.png"])
    dropped = list(images.png(seed=8))
    page.evaluate(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        }""",
        dropped,
    )
    expect(page.locator("#said")).to_have_text("2 uploaded, 1 refused")
    page.get_by_role("link", name="dropped.png").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("dropped.png")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download original").click()
    assert Path(download.value.path()).read_bytes() == bytes(dropped)


def test_metadata_and_areas_are_edited(ines, server):
    ines.expected = "400"
    upload(server, images.png(width=200, height=100, seed=9), "edited.png")
    page = ines.images("organization=acme&q=edited")
    page.get_by_role("link", name="edited.png").click()
    page.locator("[name=field]").last.fill("year")
    page.locator("[name=type]").last.select_option("int")
    page.locator("[name=value]").last.fill("soon")
    ines.press("Save metadata")
    expect(page.get_by_role("alert")).to_contain_text("must be an integer")
    assert page.locator("[name=value]").first.input_value() == "soon"
    page.locator("[name=value]").first.fill("1999")
    ines.press("Save metadata")
    expect(page.locator(".messagelist")).to_contain_text("saved")

    box = page.locator(".drawing svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.75, steps=5)
    page.mouse.up()
    numbers = [int(page.get_by_label(side, exact=True).input_value()) for side in ("X", "Y", "Width", "Height")]
    assert all(abs(a - b) <= 2 for a, b in zip(numbers, [50, 25, 100, 50], strict=True)), numbers
    ines.press("Save area")
    expect(page.locator(".messagelist")).to_contain_text("Subject area: saved")
    derived = page.locator(".hash").first.inner_text()
    shown = server.session().get(f"{server.url}/sourceimages/acme/{derived}").json()
    assert shown["user_metadata"] == {"int:year": 1999}
    assert list(shown["dynamic_metadata"]["subject_area"].values())[:4] == numbers
    expect(page.get_by_role("heading", name="Other pictures of the same bytes")).to_be_visible()
    page.get_by_label("New alias").fill("the_edited")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("The alias means this picture now")
    alias = requests.get(f"{server.url}/sourceimages/acme/alias/the_edited", headers={"Api-Key": server.api_key})
    assert alias.json()["hash"] == derived


def test_what_is_not_understood_is_said(ines):
    ines.expected = "400"
    page = ines.go("/admin/sourceimages/sourceimage/?organization=acme&size=huge", status=400)
    expect(page.get_by_role("alert")).not_to_be_empty()


def test_what_is_no_query_is_read_as_words_and_stays(ines):
    page = ines.images("organization=acme&q=%28harbour")
    expect(page.get_by_role("status").filter(has_text="searched as words")).to_be_visible()
    assert page.get_by_label("Search", exact=True).input_value() == "(harbour"
