"""explain_url and sign_url."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from rendering.contents import parse_content
from rendering.models import Stack
from sourceimages.models import SourceImage
from tests.support import images

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

UNKNOWN = "https://nobody.example.org/dynamic/resize-width-200--crop-width-50-height-50/o-dpr-2/0123abcd.jpg"


def run(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("explain_url", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def photo(acme, alice) -> SourceImage:
    alice.upload(acme, images.jpeg(300, 200))
    stack = Stack(organization=acme, name="thumb")
    stack.set_content(parse_content({"operations": [{"name": "resize", "expressions": {"width": "image.width / 3"}}]}))
    stack.save()
    return acme.images.get()


def test_a_url_is_explained_without_a_database():
    text = run(UNKNOWN)
    assert "organization:  nobody" in text
    assert "resize" in text
    assert "does not exist here" in text


def test_a_url_is_resolved_if_stack_and_image_exist(photo):
    text = run(f"https://acme.localhost/thumb/o-dpr-2/{photo.hash}.jpg")
    assert "step 1:        resize (dpr 2) " in text
    assert "width=100" in text
    assert "output:        jpg jpg.quality=70" in text
    assert "signature:     not required" in text


def test_json_has_the_resolved_operations(photo):
    found = json.loads(run(f"http://localhost/render/acme/thumb/{photo.hash}.jpg", json=True))
    assert found["resolved"]["operations"][0]["options"]["width"] == 100
    assert found["needs_signature"] is False


def test_autoformat_is_explained_for_an_accept_header(photo):
    url = f"https://acme.localhost/thumb/o-af-1/{photo.hash}.jpg"
    assert "output:        webp" in run(url, accept="image/webp")


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://acme.localhost/thumb/o-dpr/0123abcd.jpg", 400),
        ("https://acme.localhost/thumb/0123.jpg", 404),
        ("https://acme.localhost/nothing/{hash}.jpg", 404),
        ("acme.localhost/thumb/0123abcd.jpg", 400),
    ],
)
def test_a_refusal_is_explained(photo, url, status):
    url = url.format(hash=photo.hash)
    assert f"refused:       {status}" in run(url)
    found = json.loads(run(url, json=True))
    assert (found["status"], bool(found["message"])) == (status, True)


def test_hosts_can_have_any_form():
    for template, url in (
        ("https://img.example.org/{organization}", "https://img.example.org/acme/thumb/0123abcd.jpg"),
        ("https://{organization}.img.example.org", "https://acme.img.example.org/thumb/0123abcd.jpg"),
    ):
        found = json.loads(run(url, json=True, host=template))
        assert (found["organization"], found["stack"]) == ("acme", "thumb")


def test_a_url_with_an_address_has_the_organization_in_its_path():
    found = json.loads(run("http://127.0.0.1:8000/acme/thumb/0123abcd.jpg", json=True))
    assert (found["organization"], found["stack"]) == ("acme", "thumb")


def test_standard_input_is_answered_line_by_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{UNKNOWN}\n\nhttps://acme.localhost/thumb/o-dpr/0123abcd.jpg\n"))
    first, second = map(json.loads, run("-").splitlines())
    assert first["operations"][0] == {"name": "resize", "options": {"width": "200"}}
    assert second == {"status": 400}


def test_the_urls_of_real_clients_are_explained(monkeypatch):
    corpus = os.environ.get("TEST_CORPUS")
    if not corpus:
        pytest.skip("TEST_CORPUS is not set")
    cases = json.loads(Path(corpus, "rendering", "urls.json").read_text())["cases"]
    cases = [case for case in cases if case["host_form"] == "subdomain"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(case["sent"] for case in cases)))
    answers = [json.loads(line) for line in run("-").splitlines()]
    assert answers == [case["meaning"] for case in cases]


# --- sign_url ---------------------------------------------------------------------------------------------------------


def sign(url: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("sign_url", url, stdout=out, **options)
    return out.getvalue().strip()


def test_a_signed_url_is_accepted(photo, acme, client):
    acme.options = {"protect_dynamic_stack": True}
    acme.save()
    url = f"http://acme.localhost/dynamic/resize-width-20/{photo.hash}.jpg"
    assert client.get(url.removeprefix("http://acme.localhost"), headers={"host": "acme.localhost"}).status_code == 403
    for signed in (sign(url), sign(url, seconds=60)):
        path = signed.removeprefix("http://acme.localhost")
        assert client.get(path, headers={"host": "acme.localhost"}).status_code == 200


def test_a_url_of_an_unknown_organization_is_not_signed(acme):
    with pytest.raises(CommandError, match="nobody"):
        sign("https://nobody.localhost/thumb/0123abcd.jpg")
