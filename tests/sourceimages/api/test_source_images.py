from datetime import UTC, datetime

import pytest
from django.utils import timezone

from organizations.permissions import Role
from sourceimages.models import Tombstone
from tests.support import images


def put_in_trash(image, *, days_left=30):
    tombstone = Tombstone.objects.create(
        organization=image.organization,
        expires_at=timezone.now() + timezone.timedelta(days=days_left),
        reason=Tombstone.Reason.API,
    )
    image.tombstone = tombstone
    image.save(update_fields=["tombstone"])


def test_an_image_is_found_by_hash_and_by_short_hash(image, alice):
    whole = alice.api.get(f"/sourceimages/acme/{image.hash}")
    short = alice.api.get(f"/sourceimages/acme/{image.short_hash}")
    assert whole.status_code == 200
    assert whole.headers["Content-Type"] == "application/json"
    assert whole.json() == short.json()
    assert whole.json()["hash"] == image.hash
    assert "deleted" not in whole.json()


@pytest.mark.parametrize("length", [1, 5, 7, 20, 39])
def test_nothing_between_short_hash_and_hash_names_an_image(image, alice, length):
    assert alice.api.get(f"/sourceimages/acme/{image.hash[:length]}").status_code == 404


@pytest.mark.parametrize("hash", ["0" * 40, "alias", "binaryhash", "x" * 500, "é", "A" * 40])
def test_an_unknown_image_is_not_found(image, alice, hash):
    response = alice.api.get(f"/sourceimages/acme/{hash}")
    assert response.status_code == 404
    assert response.json()["error"]["reason"] == "image_not_found"


def test_a_deleted_image_is_only_found_in_the_trash(image, alice):
    put_in_trash(image)
    assert alice.api.get(f"/sourceimages/acme/{image.hash}").status_code == 404
    assert alice.api.get(f"/sourceimages/acme/{image.hash}/download").status_code == 404
    found = alice.api.get(f"/sourceimages/acme/{image.hash}?deleted=true").json()
    assert found["deleted"] is True
    assert found["deleted_date"].endswith("+00:00")
    assert alice.api.get("/sourceimages/acme?deleted=true").json()["total"] == 1


def test_expired_images_are_not_found(image, alice):
    put_in_trash(image, days_left=0)
    assert alice.api.get(f"/sourceimages/acme/{image.hash}?deleted=true").status_code == 404


def test_images_are_found_by_binary_hash(image, acme, alice):
    protected = alice.upload(acme, images.png(), **{"options[0]": '{"protected":true}'}).json()["items"][0]
    alice.upload(acme, images.png(seed=1))
    for path in (
        f"/sourceimages/acme?binaryHash={image.binary_hash}",
        f"/sourceimages/acme/binaryhash/{image.binary_hash}",
    ):
        found = alice.api.get(path).json()
        assert {item["hash"] for item in found["items"]} == {image.hash, protected["hash"]}
        assert found["total"] == 2
        assert found.keys() == {"total", "items"}


def test_an_unknown_binary_hash_finds_nothing(image, alice):
    zeros = "0" * 40
    queries = [f"?binaryHash={zeros}", "?binaryHash=nope"]
    for address in (*queries, f"/binaryhash/{zeros}"):
        response = alice.api.get(f"/sourceimages/acme{address}")
        assert (response.status_code, response.json()) == (200, {"total": 0, "items": []})


def test_an_original_comes_back_byte_for_byte(image, alice):
    response = alice.api.get(f"/sourceimages/acme/{image.hash}/download")
    assert response.status_code == 200
    assert b"".join(response) == images.png()
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Length"] == str(len(images.png()))
    assert response.headers["Content-Disposition"] == 'attachment; filename="harbour.png"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("café.png", "attachment; filename*=UTF-8''caf%C3%A9.png; filename=\"caf_.png\""),
        ('a"b\\c.png', "attachment; filename*=UTF-8''a%22b%5Cc.png; filename=\"a_b_c.png\""),
        ("../x.png", "attachment; filename*=UTF-8''..%2Fx.png; filename=\".._x.png\""),
        ("Zürich; x=y.png", "attachment; filename*=UTF-8''Z%C3%BCrich%3B%20x%3Dy.png; filename=\"Z_rich; x=y.png\""),
    ],
)
def test_the_name_of_a_download_is_quoted(image, alice, name, header):
    image.name = name
    image.save()
    assert alice.api.get(f"/sourceimages/acme/{image.hash}/download").headers["Content-Disposition"] == header


def download(person, image, **headers):
    return person.api.get(f"/sourceimages/acme/{image.hash}/download", headers=headers)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-5", -5, None), ("bytes=3-99999", 3, None)],
)
def test_a_range_is_answered_with_its_bytes(image, alice, asked, start, end):
    response = download(alice, image, Range=asked)
    content = images.png()
    assert response.status_code == 206
    assert b"".join(response) == content[start:end]
    first = len(content) + start if start < 0 else start
    last = (end or len(content)) - 1
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"
    assert response.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(image, alice, asked):
    response = download(alice, image, Range=asked)
    assert response.status_code == 416
    assert response.json()["error"]["reason"] == "range_not_satisfiable"
    assert response.headers["Content-Range"] == f"bytes */{len(images.png())}"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=-", "bytes=a-b"])
def test_other_ranges_get_everything(image, alice, asked):
    response = download(alice, image, Range=asked)
    assert response.status_code == 200
    assert b"".join(response) == images.png()


def test_a_known_original_is_not_sent_again(image, alice):
    etag = download(alice, image).headers["ETag"]
    response = download(alice, image, **{"If-None-Match": f'"other", {etag}'})
    assert response.status_code == 304
    assert response.content == b""
    assert download(alice, image, **{"If-None-Match": "*"}).status_code == 304
    assert download(alice, image, **{"If-None-Match": '"other"'}).status_code == 200
    assert download(alice, image, **{"If-Range": '"other"', "Range": "bytes=0-1"}).status_code == 200
    assert download(alice, image, **{"If-Range": etag, "Range": "bytes=0-1"}).status_code == 206


def test_a_download_on_a_condition_that_does_not_hold_is_refused(image, alice):
    etag = download(alice, image).headers["ETag"]
    for sent in ('"other"', f"W/{etag}", f'"other", W/{etag}', etag.strip('"')):
        response = download(alice, image, **{"If-Match": sent})
        assert (response.status_code, response.json()["reason"]) == (412, "precondition_failed"), sent
        assert response.headers["ETag"] == etag
        assert "Content-Disposition" not in response.headers
    for sent in (etag, f'"other", {etag}', "*"):
        assert b"".join(download(alice, image, **{"If-Match": sent})) == images.png(), sent
    part = download(alice, image, **{"If-Match": etag, "Range": "bytes=0-1"})
    assert (part.status_code, b"".join(part)) == (206, images.png()[:2])
    assert download(alice, image, **{"If-Match": '"other"', "Range": "bytes=0-1"}).status_code == 412
    assert alice.api.head(f"{link_of(image)}/download", headers={"If-Match": '"other"'}).status_code == 412


def link_of(image):
    return f"/sourceimages/acme/{image.hash}"


def test_a_download_says_since_when_its_content_is_what_it_is(image, alice):
    image.file.created = datetime(2026, 3, 5, 9, 30, 0, 700_000, tzinfo=UTC)
    image.file.save()
    before, then, after = (f"Thu, 05 Mar 2026 09:{minute}:00 GMT" for minute in (29, 30, 31))
    assert download(alice, image).headers["Last-Modified"] == then
    for sent, status in ((before, 412), (then, 200), (after, 200), ("yesterday", 200)):
        assert download(alice, image, **{"If-Unmodified-Since": sent}).status_code == status, sent
    for sent, status in ((before, 200), (then, 304), (after, 304), ("yesterday", 200)):
        assert download(alice, image, **{"If-Modified-Since": sent}).status_code == status, sent
    etag = download(alice, image).headers["ETag"]  # ETags say more than times, so times do not count beside them
    assert download(alice, image, **{"If-Match": etag, "If-Unmodified-Since": before}).status_code == 200
    assert download(alice, image, **{"If-None-Match": '"other"', "If-Modified-Since": after}).status_code == 200


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.ADMIN, 200),
        (Role.ADMIN_READ, 200),
        (Role.WRITE, 200),
        (Role.READ, 200),
        (Role.IMAGES_WRITE, 403),
        (Role.IMAGES_READ, 403),
        (Role.UPLOAD, 403),
    ],
)
def test_protected_originals_need_a_role_of_their_own(acme, alice, member, role, status):
    item = alice.upload(acme, images.png(), **{"options[0]": '{"protected":true}'}).json()["items"][0]
    assert member(role).api.get(f"{item['link']}/download").status_code == status


def test_the_role_to_download_protected_originals_adds_up_with_reading(acme, alice, member):
    item = alice.upload(acme, images.png(), **{"options[0]": '{"protected":true}'}).json()["items"][0]
    both = member(Role.IMAGES_READ, Role.PROTECTED_DOWNLOAD)
    assert both.api.get(f"{item['link']}/download").status_code == 200


def test_missing_bytes_are_an_error_for_operators(image, alice, storage_dir):
    (storage_dir / image.file.key).unlink()
    response = download(alice, image)
    assert response.status_code == 503
    assert response.json()["error"]["reason"] == "original_missing"
