"""The list of images and the page of an image: search, filters, selection, previews and forms."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from sourceimages.formats import RENDERABLE
from tests.browser.conftest import NARROW
from tests.browser.test_life import confirm, total, upload
from tests.support import images

pytestmark = pytest.mark.any_database

PER_PAGE, BATCH = 60, 65


def names(page) -> list[str]:
    return page.locator("#selection li .name, #selection tbody th a").all_inner_texts()


def search(person, text: str) -> list[str]:
    """Submit this search, and return the sorted names of the results."""
    person.page.get_by_label("Search", exact=True).fill(text)
    with person.page.expect_navigation():
        person.press("Search")
    return sorted(names(person.page))


@pytest.fixture(scope="module")
def batch(server):
    """More images than fit on a page."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: upload(server, images.png(seed=1000 + n), f"batch {n}.png"), range(BATCH)))


@pytest.mark.parametrize("view", ["grid", "table"])
def test_every_image_is_on_exactly_one_page(ines, batch, view):
    page = ines.images(f"organization=acme&q=batch&view={view}")
    assert page.locator("table").count() == (view == "table")
    assert total(ines) == BATCH
    first = names(page)
    assert len(first) == PER_PAGE
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**offset=60**")
    second = names(page)
    assert {*first, *second} == {f"batch {number}.png" for number in range(BATCH)}
    assert len(first) + len(second) == BATCH
    assert page.get_by_role("link", name="Next").count() == 0
    page.get_by_role("link", name="Previous").click()
    page.wait_for_url(lambda url: "offset" not in url)
    assert names(page) == first


def test_images_are_found_by_word_hash_and_query(ines, server):
    lake = upload(server, images.png(seed=2000), "lake at dawn.png")
    upload(server, images.png(seed=2001), "lake at noon.png")
    upload(server, images.png(seed=2002), "mountain.png")
    answer = server.session().put(
        f"{server.url}/sourceimages/acme/{lake['hash']}/meta/user", json={"int:year": 2001, "str:artist": "Ada"}
    )
    assert answer.ok, answer.text
    ines.images("organization=acme")
    assert search(ines, "lake") == ["lake at dawn.png", "lake at noon.png"]
    assert search(ines, "lake daw") == ["lake at dawn.png"]
    for hash in (lake["hash"], lake["short_hash"], lake["binary_hash"]):
        assert search(ines, hash) == ["lake at dawn.png"]
    suggested = ines.page.get_by_label("Search", exact=True).get_attribute("placeholder")
    assert search(ines, suggested.rpartition(" or ")[2]) == ["lake at dawn.png"]
    assert search(ines, 'user:artist:"Ada" AND format:png') == ["lake at dawn.png"]
    assert search(ines, 'user:artist:"Ada" AND format:jpg') == []
    expect(ines.page.locator("main")).to_contain_text("No images found")


def test_filters_find_as_many_images_as_they_show(ines, server):
    for number in range(3):
        upload(server, images.jpeg(seed=2100 + number), f"filtered {number}.jpg")
    for number in range(2):
        upload(server, images.png(seed=2100 + number), f"filtered {number}.png")
    page = ines.images("organization=acme&q=filtered")
    assert total(ines) == 5
    formats = page.get_by_label("Format")
    expect(formats.locator("[value=jpg]")).to_have_text("jpg (3)")
    expect(formats.locator("[value=png]")).to_have_text("png (2)")
    expect(page.get_by_label("Size").locator("[value=tiny]")).to_contain_text("(5)")
    expect(page.get_by_label("Uploaded").locator("[value=day]")).to_contain_text("(5)")
    formats.select_option("jpg")
    page.wait_for_url("**format=jpg**")
    assert sorted(names(page)) == [f"filtered {number}.jpg" for number in range(3)]
    page.get_by_label("Size").select_option("large")
    page.wait_for_url("**size=large**")
    assert names(page) == []
    page.get_by_label("Size").select_option("tiny")
    page.wait_for_url("**size=tiny**")
    assert total(ines) == 3


def test_two_images_are_selected_and_locked(ines, server):
    hashes = [upload(server, images.png(seed=2200 + n), f"row {n}.png")["hash"] for n in range(4)]
    page = ines.images("organization=acme&q=row&sort=name+asc")
    page.get_by_label("Select row 0.png").check()
    page.get_by_label("Select row 2.png").click(modifiers=["Shift"])
    expect(page.locator("[data-selected-count]")).to_have_text("3 selected")
    page.get_by_label("Select row 1.png").uncheck()
    expect(page.locator("[data-selected-count]")).to_have_text("2 selected")
    ines.press("Lock…")
    expect(page.locator("#summary")).to_contain_text("2 images")
    confirm(ines, "Lock")
    shown = [server.session().get(f"{server.url}/sourceimages/acme/{hash}").json()["locked"] for hash in hashes]
    assert shown == [True, False, True, False]
    page.get_by_label("Status").select_option("locked")
    page.wait_for_url("**state=locked**")
    assert sorted(names(page)) == ["row 0.png", "row 2.png"]


def test_thumbnails_of_real_files(ines, server, corpus):
    """Supported formats have a preview; others show the name of the format."""
    files = json.loads((corpus / "images" / "images.json").read_text())["files"]
    of_format = {file["expected"]["format"]: corpus / "images" / file["path"] for file in files[::-1]}
    for format, path in of_format.items():
        upload(server, path.read_bytes(), f"real {format}.{format}")
    assert len(of_format.keys() & RENDERABLE) >= 11
    assert of_format.keys() - RENDERABLE
    page = ines.images("organization=acme&q=real&view=grid")
    shown = page.evaluate(
        """async () => {
          const found = {};
          for (const item of document.querySelectorAll(".grid > li")) {
            const image = item.querySelector("img.thumbnail");
            let says = item.querySelector(".tile")?.textContent;
            if (image) {
              image.loading = "eager";
              await image.decode().catch(() => null);
              const answer = await fetch(image.src);
              says = image.naturalWidth > 0 && !answer.redirected && answer.headers.get("content-type");
            }
            found[item.querySelector(".name").textContent.replace("real ", "").split(".")[0]] = says;
          }
          return found;
        }"""
    )
    assert shown == {format: "image/webp" if format in RENDERABLE else format for format in of_format}


def test_many_thumbnails_at_once_are_all_shown(ines, server):
    """More than can be rendered at the same time; none stays broken."""
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(lambda n: upload(server, images.png(640, 480, seed=3000 + n), f"many {n}.png"), range(PER_PAGE))
        )
    page = ines.images("organization=acme&q=many&view=grid")
    widths = page.evaluate(
        """() => Promise.all([...document.querySelectorAll("img.thumbnail")].map(async (image) => {
          image.loading = "eager";
          await image.decode().catch(() => null);
          return image.naturalWidth;
        }))"""
    )
    assert widths == [320] * PER_PAGE


def test_a_render_is_shown_signed_copied_and_purged(ines, server):
    upload(server, images.png(60, 40, seed=2800), "rendered.png")
    ines.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = ines.images("organization=acme&q=rendered")
    page.get_by_role("link", name="rendered.png").click()
    page.locator("#render").get_by_label("Format").select_option("webp")
    ines.press("Show render")
    shown = page.locator("#render img.preview")
    shown.scroll_into_view_if_needed()
    expect(shown).to_have_js_property("naturalWidth", 800)
    page.get_by_label("Signature expires after").select_option("1 day")
    ines.press("Sign URL")
    page.get_by_role("button", name="Copy the signed URL").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"http://acme\.localhost:\d+/dynamic/resize-width-800/\w+\.webp\?sigopts=.*&sig=\w{16}", copied)
    ines.press("Purge renders")
    expect(page.locator(".messagelist")).to_contain_text("purged")
    expect(page.locator(".messagelist")).to_be_in_viewport()


def test_an_image_is_renamed_and_an_alias_added_and_removed(ines, server):
    ines.expected = "409"
    image = upload(server, images.png(seed=2300), "before.png")
    address = f"{server.url}/sourceimages/acme"
    page = ines.images("organization=acme&q=before")
    page.get_by_role("link", name="before.png").click()
    page.get_by_label("Name", exact=True).first.wait_for()
    page.locator("#new-name").fill("after.png")
    ines.press("Rename")
    expect(page.get_by_role("heading", level=1)).to_have_text("after.png")
    assert server.session().get(f"{address}/{image['hash']}").json()["name"] == "after.png"

    page.get_by_label("New alias").fill("comes_and_goes")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("Alias added")
    assert server.session().get(f"{address}/alias/comes_and_goes").json()["hash"] == image["hash"]
    page.locator("#alias summary").click()
    ines.press("Remove alias")
    expect(page.locator(".messagelist")).to_contain_text("Alias removed")
    assert server.session().get(f"{address}/alias/comes_and_goes").status_code == 404


def test_a_hash_is_copied(ines, server):
    image = upload(server, images.png(seed=2400), "copied.png")
    ines.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = ines.images("organization=acme&q=copied")
    page.get_by_role("link", name="copied.png").click()
    button = page.locator(f"[data-copy='{image['hash']}']")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == image["hash"]
    expect(button).to_have_text("Copy the hash")


def test_fields_of_every_type_are_saved(ines, server):
    image = upload(server, images.png(seed=2500), "typed.png")
    page = ines.images("organization=acme&q=typed")
    page.get_by_role("link", name="typed.png").click()
    typed = {
        "array:tags": ("one\ntwo", ["one", "two"]),
        "date:taken": ("2026-03-05T09:30:00Z", "2026-03-05T09:30:00Z"),
        "double:weight": ("1.5", 1.5),
        "int:year": ("1999", 1999),
        "str:artist": ("Ada", "Ada"),
        "text:story": ("Two\nlines", "Two\nlines"),
    }
    for number, (key, (text, _)) in enumerate(typed.items()):
        if number:
            ines.press("Add field")
        kind, name = key.split(":")
        page.locator("[name=field]").last.fill(name)
        page.locator("[name=type]").last.select_option(kind)
        page.locator("[name=value]").last.fill(text)
    ines.press("Save metadata")
    expect(page.locator(".messagelist")).to_contain_text("saved")
    stored = server.session().get(f"{server.url}/sourceimages/acme/{image['hash']}").json()["user_metadata"]
    assert stored == {key.removeprefix("str:"): value for key, (_, value) in typed.items()}


@pytest.mark.parametrize(
    ("save_as", "same", "status"), [("keep_hash", True, 200), ("new", False, 200), ("replace", False, 404)]
)
def test_an_area_is_saved_as_selected(ines, server, save_as, same, status):
    before = upload(server, images.png(40, 30, seed=2600 + len(save_as)), f"area {save_as}.png")["hash"]
    page = ines.images(f"organization=acme&q={before}")
    page.get_by_role("link", name=f"area {save_as}.png").click()
    page.get_by_label("Area", exact=True).select_option("crop_area")
    for side, number in {"X": 1, "Y": 2, "Width": 20, "Height": 10}.items():
        page.get_by_label(side, exact=True).fill(str(number))
    page.locator("#area-save-as").select_option(save_as)
    ines.press("Save area")
    expect(page.locator(".messagelist")).to_contain_text("Crop area saved")
    after = page.locator(".hash").first.inner_text()
    assert (after == before) == same
    area = server.session().get(f"{server.url}/sourceimages/acme/{after}").json()["dynamic_metadata"]["crop_area"]
    assert [area[side] for side in ("x", "y", "width", "height")] == [1, 2, 20, 10]
    assert server.session().get(f"{server.url}/sourceimages/acme/{before}").status_code == status


def test_a_download_is_identical_to_the_upload(ines, server, corpus):
    content = next((corpus / "images" / "jpg").iterdir()).read_bytes()
    upload(server, content, "exactly.jpg")
    page = ines.images("organization=acme&q=exactly")
    page.get_by_role("link", name="exactly.jpg").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download original").click()
    assert re.search(r"\.jpe?g$", download.value.suggested_filename)
    with open(download.value.path(), "rb") as file:
        assert file.read() == content


def test_unsaved_metadata_is_not_left_by_mistake(ines, server):
    image = upload(server, images.png(seed=2950), "unsaved.png")
    page = ines.images(f"organization=acme&q={image['hash']}")
    page.get_by_role("link", name="unsaved.png").click()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.locator("#metadata [name=field]").last.fill("mood")
    page.locator("#metadata [name=value]").last.fill("calm")
    page.get_by_role("link", name="Dashboard").click()
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    expect(page.locator("#metadata [name=value]").last).to_have_value("calm")
    ines.press("Save metadata")
    expect(page.get_by_text("Metadata saved.")).to_be_visible()
    assert asked == ["beforeunload"]


def test_the_number_of_selected_images_is_visible_on_a_narrow_screen(ines, server):
    upload(server, images.png(seed=2951), "counted.png")
    page = ines.images("organization=acme&q=counted")
    page.set_viewport_size(NARROW)
    page.get_by_label("Select counted.png").check()
    box = page.get_by_text("1 selected").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= NARROW["width"]
