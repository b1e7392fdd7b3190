"""Text has no signature: a file is kept as text only under a name that says so."""

import pytest

from tests.support import images

pytestmark = [pytest.mark.any_database, pytest.mark.usefixtures("consistent")]

TEXT = b"Not an image,\nbut an answer of some server\n"
TABLE = b"a,b\n1,2\n3,4\n"


@pytest.mark.parametrize(
    "name", ["photo.png", "photo.JPG", "a.webp", "scan.pdf", "clip.mp4", "photo", "txt", "a.txt.png"]
)
@pytest.mark.parametrize("content", [TEXT, TABLE, "Gr\u00fcezi".encode("utf-16")])
def test_text_under_another_name_is_refused_and_nothing_is_stored(acme, alice, name, content):
    answer = alice.upload(acme, content, name=name)
    assert (answer.status_code, answer.json()["reason"]) == (400, "format_not_allowed")
    assert "plain text" in answer.json()["error"]["message"]
    assert (acme.images.count(), acme.files.count()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [("a.txt", TEXT, "txt"), ("A.TXT", TEXT, "txt"), ("a.csv", TABLE, "csv"), ("notes.md", TEXT, "txt"),
     ("table.txt", TABLE, "csv"), ("png.log", TEXT, "txt")],
)  # fmt: skip
def test_text_under_the_name_of_text_is_kept(acme, alice, name, content, format):
    answer = alice.upload(acme, content, name=name)
    assert [item["format"] for item in answer.json()["items"]] == [format]


def test_text_that_is_known_already_is_refused_under_the_name_of_an_image_too(acme, alice):
    assert alice.upload(acme, TEXT, name="a.txt").status_code == 200
    assert alice.upload(acme, TEXT, name="a.png").status_code == 400
    assert acme.images.count() == 1


def test_the_name_of_an_image_says_nothing_about_an_image(acme, alice):
    assert alice.upload(acme, images.jpeg(), name="a.txt").json()["items"][0]["format"] == "jpg"
