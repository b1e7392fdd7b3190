"""The life of images in the admin: upload, view, lock, delete and restore; one at a time and a thousand at once."""

import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import shell
from tests.support import images

pytestmark = pytest.mark.any_database

MANY = 1000  # more than one batch, and few enough for the time limit of a request


def upload(server, content: bytes, name: str, organization: str = "acme") -> dict:
    answer = server.session().post(f"{server.url}/sourceimages/{organization}", files={"filedata": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]


def total(person) -> int:
    return int(person.page.locator("[data-total]").inner_text().replace(",", ""))


def confirm(person, label: str) -> None:
    person.page.get_by_role("button", name=re.compile(f"^{label}: ")).click()
    person.page.wait_for_load_state()


def test_locked_refused_unlocked_deleted_and_restored(ines, server):
    ines.expected = "400"  # the browser mentions refusals
    image = upload(server, images.png(seed=1), "harbour at night.png")
    page = ines.images("organization=acme&q=harb")
    page.get_by_role("link", name="harbour at night.png").click()
    ines.press("Lock…")
    confirm(ines, "Lock")
    expect(page.locator("h1 + .badges")).to_contain_text("locked")

    ines.press("Move to trash…")
    expect(page.locator("#summary")).to_contain_text("1 locked")
    expect(page.get_by_role("button", name="Move to trash: 0 images")).to_be_disabled()
    page.eval_on_selector("button[name=confirmed]", "button => { button.disabled = false }")
    confirm(ines, "Move to trash")
    expect(page.get_by_role("alert")).to_contain_text("is locked")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").json()["locked"] is True
    page.get_by_role("link", name="Back").click()
    ines.press("Unlock…")
    confirm(ines, "Unlock")
    ines.press("Move to trash…")
    confirm(ines, "Move to trash")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").status_code == 404

    ines.go("/admin/sourceimages/tombstone/")
    page.get_by_role("link", name=re.compile("^20")).first.click()
    expect(page.locator("main")).to_contain_text("harbour at night.png")
    ines.press("Restore all…")
    ines.press("Restore all")
    assert server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").status_code == 200

    ines.images(f"organization=acme&q={image['short_hash']}")
    page.get_by_role("link", name="harbour at night.png").click()
    history = page.get_by_role("table", name="Events of this image").inner_text()
    assert [action for action in ("image.locked", "image.unlocked", "image.deleted") if action not in history] == []
    assert "ines" in history


def test_all_images_are_deleted_by_a_job_and_restored(ines, server):
    shell(
        server,
        "from tests.support import bulk_data; from organizations.models import *; "
        "from organizations.usage import counters; "
        f"o = Organization.objects.create(name='many', display_name='Many'); bulk_data.make(o, {MANY}, first=900001); "
        "UsageCounter.objects.bulk_create([UsageCounter(organization=o, slot=s) for s in range(UsageCounter.SLOTS)]); "
        "counters.recount(o, lambda: counters.Totals(images=o.images.active().count(), bytes=0))",
    )
    ines.expected = "503"  # these images have no files
    page = ines.images("organization=many")
    assert total(ines) == MANY
    page.get_by_label(re.compile("Select all .* results")).check()
    ines.press("Move to trash…")
    expect(page.locator("#summary")).to_contain_text(str(MANY))
    confirm(ines, "Move to trash")
    expect(page.locator("#progress")).to_contain_text("succeeded", timeout=90_000)
    expect(page.locator("#progress")).to_contain_text(f"{MANY} of {MANY}")
    job = page.url
    ines.images("organization=many")
    expect(page.locator("main")).to_contain_text("No images yet")

    page.goto(job)
    page.get_by_role("link", name="View deleted images").click()
    ines.press("Restore all…")
    ines.press("Restore all")
    page.get_by_role("link", name="View job").click()
    expect(page.locator("#progress")).to_contain_text("succeeded", timeout=90_000)
    ines.images("organization=many")
    assert total(ines) == MANY


def test_selected_images_of_a_deletion_are_restored(ines, server):
    names = [f"selected {number}.png" for number in range(3)]
    for number, name in enumerate(names):
        upload(server, images.png(seed=100 + number), name)
    page = ines.images("organization=acme&q=selected&view=table")
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selected-count]")).to_have_text("3 selected")
    ines.press("Move to trash…")
    confirm(ines, "Move to trash")
    expect(page.locator(".messagelist")).to_contain_text("3 deleted")
    ines.go("/admin/sourceimages/tombstone/")
    page.get_by_role("link", name=re.compile("^20")).first.click()
    page.get_by_label("Select selected 1.png").check()
    ines.press("Restore selected…")
    confirm(ines, "Restore")
    ines.images("organization=acme&q=selected")
    assert total(ines) == 1


def test_files_are_chosen_and_dropped(ines, server, tmp_path):
    ines.expected = "400"
    (tmp_path / "good.png").write_bytes(images.png(seed=7))
    (tmp_path / "program.exe").write_bytes(b"MZ\0\1 not an image")
    page = ines.go("/admin/sourceimages/sourceimage/upload/?organization=acme")
    page.get_by_label("Images", exact=True).set_input_files([tmp_path / "good.png", tmp_path / "program.exe"])
    expect(page.locator("#status")).to_have_text("1 uploaded, 1 rejected")
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
    expect(page.locator("#status")).to_have_text("2 uploaded, 1 rejected")
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
    expect(page.locator(".messagelist")).to_contain_text("Subject area saved")
    derived = page.locator(".hash").first.inner_text()
    shown = server.session().get(f"{server.url}/sourceimages/acme/{derived}").json()
    assert shown["user_metadata"] == {"int:year": 1999}
    assert list(shown["dynamic_metadata"]["subject_area"].values())[:4] == numbers
    expect(page.get_by_role("heading", name="Other images from the same file")).to_be_visible()
    page.get_by_label("New alias").fill("the_edited")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("Alias added")
    alias = requests.get(f"{server.url}/sourceimages/acme/alias/the_edited", headers={"Api-Key": server.api_key})
    assert alias.json()["hash"] == derived


def test_an_invalid_query_is_read_as_words_and_stays(ines):
    page = ines.images("organization=acme&q=%28harbour")
    expect(page.get_by_role("status").filter(has_text="searched as words")).to_be_visible()
    assert page.get_by_label("Search", exact=True).input_value() == "(harbour"
