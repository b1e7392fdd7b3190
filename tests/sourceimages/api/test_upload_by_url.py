"""Uploads whose files are somewhere else."""

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest

from organizations.models import ApiKey, Organization
from organizations.permissions import Role
from rokka.core import slots
from sourceimages.models import SourceImage
from sourceimages.uploads.remote_limits import slot
from tests.conftest import files_in
from tests.support import images
from tests.support.web_server import HERE, IMAGE, serving

pytestmark = pytest.mark.any_database

OTHER = images.png(8, 8, seed=7)


@pytest.fixture
def base(settings):
    settings.FETCH_ALLOWED_NETWORKS = [f"{HERE}/32"]
    with serving() as server:
        yield f"http://{HERE}:{server.server_port}"


def left(storage_dir):
    """All files in the storage, the spool included."""
    return files_in(storage_dir)


def post(person, **fields):
    return person.api.post("/sourceimages/acme", fields, format="multipart")


@pytest.mark.parametrize("field", ["url[0]", "url[]", "url"])
def test_an_image_is_fetched(acme, alice, base, field, storage_dir):
    response = post(alice, **{field: f"{base}/quay/harbour.png"})
    assert response.status_code == 200
    item = response.json()["items"][0]
    assert (item["name"], item["format"], item["width"], item["height"]) == ("harbour.png", "png", 30, 20)
    assert b"".join(alice.api.get(item["link"] + "/download").streaming_content) == IMAGE
    assert len(left(storage_dir)) == 1


def test_what_is_fetched_is_the_same_image_as_what_is_sent(acme, alice, base):
    sent = alice.upload(acme, IMAGE, name="a.png").json()["items"][0]
    fetched = post(alice, **{"url[0]": f"{base}/b.png"}).json()["items"][0]
    assert (fetched["hash"], fetched["name"]) == (sent["hash"], "a.png")


def test_files_and_urls_mix_and_fields_go_by_their_place(acme, alice, base):
    response = alice.upload(
        acme,
        OTHER,
        name="sent.png",
        **{
            "url[1]": f"{base}/one.png",
            "meta_user[0]": json.dumps({"which": "sent"}),
            "meta_user[1]": json.dumps({"which": "fetched"}),
            "options[1]": json.dumps({"protected": True}),
        },
    )
    items = response.json()["items"]
    assert [(item["name"], item["user_metadata"], item["protected"]) for item in items] == [
        ("sent.png", {"which": "sent"}, False),
        ("one.png", {"which": "fetched"}, True),
    ]


def test_urls_may_be_many(acme, alice, base):
    items = post(alice, **{"url[0]": f"{base}/zero.png", "url[1]": f"{base}/gzip.png"}).json()["items"]
    assert len({item["hash"] for item in items}) == 1
    assert SourceImage.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"url[0]": "http://127.0.0.1/a.png"}, "address_not_allowed"),
        ({"url[0]": "ftp://example.org/a.png"}, "invalid_url"),
        ({"url[0]": "{base}/missing.png"}, "fetch_failed"),
        ({"url[0]": "{base}/good.png", "url[1]": "{base}/missing.png"}, "fetch_failed"),
        ({"url[0]": "{base}/good.png", "url[2]": "{base}/good.png"}, "invalid"),
        ({"url[1]": "{base}/good.png", "url[01]": "{base}/good.png"}, "invalid"),
        ({"url[0]": "{base}/good.png", "meta_user[1]": "{}"}, "invalid"),
        ({"url[0]": "{base}/a%0Ab.png"}, "invalid_name"),
        ({"url[0]": "  "}, "invalid"),
    ],
)
def test_what_cannot_be_fetched_is_refused_and_nothing_is_kept(acme, alice, base, storage_dir, fields, reason):
    response = post(alice, **{name: value.replace("{base}", base) for name, value in fields.items()})
    assert (response.status_code, response.json()["error"]["reason"]) == (400, reason)
    assert not SourceImage.objects.exists()
    assert left(storage_dir) == []


def test_what_comes_is_looked_at_like_any_file(acme, alice, base, storage_dir, settings):
    settings.ALLOWED_FORMATS = ["jpg"]
    response = post(alice, **{"url[0]": f"{base}/a.png"})
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "format_not_allowed")
    assert left(storage_dir) == []


def test_too_many_urls_are_refused_before_any_is_fetched(acme, alice, base, settings):
    settings.MAX_FILES_PER_REQUEST = 2
    response = post(alice, **{f"url[{number}]": f"{base}/{number}.png" for number in range(3)})
    assert (response.status_code, response.json()["error"]["reason"]) == (413, "request_too_large")


def test_all_urls_together_may_not_be_too_large(acme, alice, base, storage_dir, settings):
    settings.MAX_REQUEST_SIZE = len(IMAGE) + 400
    response = post(alice, **{"url[0]": f"{base}/0.png", "url[1]": f"{base}/1.png"})
    assert (response.status_code, response.json()["error"]["reason"]) == (413, "request_too_large")
    assert left(storage_dir) == []


def test_all_urls_of_a_request_share_its_time(acme, alice, base, storage_dir, settings):
    settings.FETCH_TIMEOUT_SECONDS = 1
    response = post(alice, **{"url[0]": f"{base}/0.png", "url[1]": f"{base}/slow.png"})
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "fetch_failed")
    assert left(storage_dir) == []


def test_only_who_may_upload_makes_this_server_ask_others(acme, charlie, member, base):
    for person in (charlie, member("read", email="carol@example.org")):
        response = post(person, **{"url[0]": f"{base}/a.png"})
        assert response.status_code == 403


def waiting(stack, person, organization, count):
    """So many uploads of the organization wait for other servers until the stack is closed."""
    key = ApiKey.objects.get(user=person.user).pk
    for _ in range(count):
        stack.enter_context(slot(organization, replace(person.actor, api_key_id=key)))


def test_uploads_by_url_are_refused_at_once_where_too_many_wait(
    acme, alice, member, charlie, base, settings, storage_dir
):
    settings.WEB_THREADS = 32  # eight may wait, six of an organization, four of a key
    other = Organization.objects.get(name="other")
    bob, url = member(Role.UPLOAD), {"url[0]": f"{base}/a.png"}
    with ExitStack() as stack:
        waiting(stack, alice, acme, 4)
        refused = post(alice, **url)
        assert (refused.status_code, refused.json()["reason"]) == (429, "too_many_fetches")
        assert "4 uploads by URL are in progress, the limit for a key" in refused.json()["message"]
        assert int(refused.headers["Retry-After"]) > 0
        assert alice.upload(acme, OTHER).status_code == 200  # does not wait
        assert post(bob, **url).status_code == 200
        waiting(stack, bob, acme, 2)
        assert "an organization" in post(bob, **url).json()["message"]
        assert charlie.api.post("/sourceimages/other", url, format="multipart").status_code == 200
        waiting(stack, charlie, other, 2)
        refused = charlie.api.post("/sourceimages/other", url, format="multipart")
        assert "this server" in refused.json()["message"]
    assert post(alice, **url).status_code == 200
    assert not slots._in_use


def test_refused_and_failed_fetches_release_their_slots(acme, alice, base, settings, storage_dir):
    settings.WEB_THREADS = 1
    for _ in range(2):
        assert post(alice, **{"url[0]": f"{base}/missing.png"}).status_code == 400
    with ExitStack() as stack:
        waiting(stack, alice, acme, 1)
        refused = alice.upload(acme, OTHER, **{"url[1]": f"{base}/a.png"})
        assert refused.status_code == 429
    assert left(storage_dir) == []
    assert not SourceImage.objects.exists()
    assert post(alice, **{"url[0]": f"{base}/a.png"}).status_code == 200


def test_a_name_that_is_a_directory_becomes_that_of_the_format(acme, alice, base):
    item = post(alice, **{"url[0]": f"{base}/%2E%2E%2F.%2E"}).json()["items"][0]
    assert item["name"] == "image.png"
