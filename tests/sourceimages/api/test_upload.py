import json
from hashlib import sha1

import pytest
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from organizations.permissions import Role
from sourceimages.maintenance.purge import purge_expired
from sourceimages.models import ShortHash, SourceImage, StoredFile, Tombstone
from sourceimages.operations import delete_image
from sourceimages.operations.add import StagedUploads
from tests.conftest import consistency_errors, files_in
from tests.support import images
from tests.support.storage import set_grace_time


def upload_form(api, path, *parts, **fields):
    """POST parts (field name, file name or None, content) as multipart/form-data, byte for byte."""
    boundary = "frontier"
    body = b""
    for field, name, content in parts:
        filename = f'; filename="{name}"' if name is not None else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{filename}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return api.generic("POST", path, body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")


def test_an_upload_is_answered_as_documented(acme, alice):
    content = images.png(8, 6)
    response = alice.upload(acme, content, name="harbour.png")
    binary_hash = sha1(content).hexdigest()
    hash = sha1(f"{binary_hash}a:0:{{}}".encode()).hexdigest()
    image = acme.images.get()

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {
        "total": 1,
        "items": [
            {
                "hash": hash,
                "short_hash": hash[:6],
                "binary_hash": binary_hash,
                "created": image.created.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
                "name": "harbour.png",
                "mimetype": "image/png",
                "format": "png",
                "size": len(content),
                "width": 8,
                "height": 6,
                "organization": "acme",
                "link": f"/sourceimages/acme/{hash}",
                "user_metadata": {},
                "dynamic_metadata": {},
                "static_metadata": image.file.static_metadata,
                "protected": False,
                "locked": False,
                "opaque": True,
                "animated": False,
                "deleted": False,
            }
        ],
    }
    assert consistency_errors() == []


@pytest.mark.parametrize("field", ["filedata", "filedata[]", "filedata[0]", "filename", "f"])
def test_a_file_part_may_have_any_name(acme, alice, field):
    response = upload_form(alice.api, "/sourceimages/acme", (field, "a.png", images.png()))
    assert response.status_code == 200


def test_text_parts_called_like_names_are_ignored(acme, alice):
    parts = [("fileName", None, b"x.png"), ("name", None, b"filedata"), ("filedata", "a.png", images.png())]
    assert upload_form(alice.api, "/sourceimages/acme", *parts).json()["items"][0]["name"] == "a.png"


def test_several_files_are_answered_in_their_order(acme, alice):
    parts = [(field, f"{n}.png", images.png(seed=n)) for n, field in enumerate(["b", "a", "b", "c"])]
    response = upload_form(alice.api, "/sourceimages/acme", *parts)
    assert [item["name"] for item in response.json()["items"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert response.json()["total"] == 4


def test_of_several_files_all_or_none_are_kept(acme, alice, storage_dir):
    parts = [("one", "good.png", images.png()), ("two", "bad.png", b"\x89PNG\r\n\x1a\n and nothing more")]
    response = upload_form(alice.api, "/sourceimages/acme", *parts)
    assert response.status_code == 400
    assert "two" in response.json()["error"]["message"]
    assert not SourceImage.objects.exists()
    assert not StoredFile.objects.exists()
    assert files_in(storage_dir) == []


def test_the_same_content_twice_is_the_same_image(acme, alice):
    first = alice.upload(acme, images.png(), name="first.png").json()["items"][0]
    second = alice.upload(acme, images.png(), name="second.png").json()["items"][0]
    assert second == first
    assert StoredFile.objects.count() == SourceImage.objects.count() == ShortHash.objects.count() == 1
    assert consistency_errors() == []


def test_the_same_content_twice_in_one_request_is_one_image(acme, alice):
    response = alice.upload(acme, images.png(), images.png())
    assert response.json()["total"] == 2
    assert response.json()["items"][0] == response.json()["items"][1]
    assert consistency_errors() == []


def test_the_same_content_elsewhere_has_the_same_hash_and_its_own_bytes(acme, alice, charlie):
    ours = alice.upload(acme, images.png()).json()["items"][0]
    theirs = charlie.upload("other", images.png()).json()["items"][0]
    assert ours["hash"] == theirs["hash"]
    assert StoredFile.objects.values("key").distinct().count() == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("meta_user[0]", '{"foo":"bar","int:year":2019}'),
        ("meta_user[]", '{"foo":"bar","int:year":2019}'),
        ("meta_user", '{"foo":"bar","int:year":2019}'),
        ("meta_user[0]", '{"foo":"bar","int:year":2019}\n'),
        ("meta_user[0]", '"{\\"foo\\":\\"bar\\",\\"int:year\\":2019}"'),
    ],
)
def test_user_metadata_in_every_encoding(acme, alice, field, value):
    response = alice.upload(acme, images.png(), **{field: value})
    assert response.json()["items"][0]["user_metadata"] == {"foo": "bar", "int:year": 2019}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("meta_dynamic[0]", '{"subject_area":{"x":10,"y":20}}'),
        ("meta_dynamic[]", '{"subject_area":{"x":10,"y":20}}'),
        ("meta_dynamic[0]", '"{\\"subject_area\\":{\\"x\\":10,\\"y\\":20}}"'),
        ("meta_dynamic[0][subject_area]", '{"x":10,"y":20,"width":1,"height":1,"percentage":false}'),
        ("meta_dynamic[0][SubjectArea]", '{"x":"10","y":"20"}'),
    ],
)
def test_dynamic_metadata_in_every_encoding(acme, alice, field, value):
    item = alice.upload(acme, images.png(40, 30), **{field: value}).json()["items"][0]
    assert item["dynamic_metadata"] == {"subject_area": {"x": 10, "y": 20, "width": 1, "height": 1}}
    serialized = 'a:1:{s:12:"subject_area";a:4:{s:6:"height";i:1;s:5:"width";i:1;s:1:"x";i:10;s:1:"y";i:20;}}'
    assert item["hash"] == sha1((item["binary_hash"] + serialized).encode()).hexdigest()


def test_fields_belong_to_files_by_their_index(acme, alice):
    fields = {"meta_user[1]": '{"n":"second"}', "meta_user[0]": '{"n":"first"}', "options[1]": '{"protected":true}'}
    items = alice.upload(acme, images.png(seed=1), images.png(seed=2), **fields).json()["items"]
    assert [item["user_metadata"] for item in items] == [{"n": "first"}, {"n": "second"}]
    assert [item["protected"] for item in items] == [False, True]


def test_fields_without_an_index_belong_to_one_file_after_the_other(acme, alice):
    items = alice.upload(
        acme, images.png(seed=1), images.png(seed=2), **{"meta_user[]": ['{"n":"first"}', '{"n":"second"}']}
    ).json()["items"]
    assert [item["user_metadata"] for item in items] == [{"n": "first"}, {"n": "second"}]


@pytest.mark.parametrize("value", ['{"protected":true}', '"{\\"protected\\":true}"', '{"protected":"1"}'])
def test_protection_makes_another_image_of_the_same_bytes(acme, alice, value):
    plain = alice.upload(acme, images.png()).json()["items"][0]
    protected = alice.upload(acme, images.png(), **{"options[0]": value}).json()["items"][0]
    assert protected["protected"] is True
    assert protected["binary_hash"] == plain["binary_hash"]
    assert protected["hash"] == sha1(f'{plain["binary_hash"]}a:1:{{s:9:"protected";b:1;}}'.encode()).hexdigest()
    assert StoredFile.objects.count() == 1
    assert consistency_errors() == []


def test_uploading_again_sets_the_fields_that_are_mentioned(acme, alice):
    alice.upload(acme, images.png(), **{"meta_user[0]": '{"a":"1","b":"2"}'})
    item = alice.upload(acme, images.png(), **{"meta_user[0]": '{"b":"3","int:c":4}'}).json()["items"][0]
    assert item["user_metadata"] == {"a": "1", "b": "3", "int:c": 4}
    changed = AuditEvent.objects.get(action="image.metadata_updated")
    assert changed.details == {"before": {"b": "2"}, "after": {"b": "3", "int:c": 4}}


def test_fields_given_again_and_again_stay_within_the_limit(acme, alice):
    def fields(start):
        return json.dumps({f"f{n}": "x" for n in range(start, start + 600)})

    refused = alice.upload(acme, images.png(), **{"meta_user[0]": [fields(0), fields(600)]})
    assert refused.status_code == 400
    assert "1000" in refused.json()["error"]["message"]
    assert alice.upload(acme, images.png(), **{"meta_user[0]": fields(0)}).status_code == 200
    assert alice.upload(acme, images.png(), **{"meta_user[0]": fields(600)}).status_code == 400
    assert len(acme.images.get().user_metadata) == 600


def test_one_name_is_one_field_even_if_given_twice(acme, alice):
    item = alice.upload(acme, images.png(), **{"meta_user[0]": ['{"int:year":1}', '{"year":"x"}']}).json()["items"][0]
    assert item["user_metadata"] == {"year": "x"}


def test_a_locked_image_keeps_its_metadata(image, acme, alice):
    acme.images.update(locked=True)
    refused = alice.upload(acme, images.png(), **{"meta_user[0]": '{"a":"1"}'})
    assert refused.status_code == 423
    assert refused.json()["error"]["reason"] == "image_locked"
    assert acme.images.get().user_metadata == {}
    assert alice.upload(acme, images.png()).status_code == 200


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"meta_user[0]": "{"}, "meta_user[0]"),
        ({"meta_user[0]": '"{"'}, "meta_user[0]"),
        ({"meta_user[0]": "[" * 100_000}, "meta_user[0]"),
        ({"meta_user[0]": '{"int:a": NaN}'}, "meta_user[0]"),
        ({"meta_user[0]": '{"A":1}'}, "'A'"),
        ({"meta_user[1]": "{}"}, "file 1"),
        ({"meta_dynamic[0]": '{"Colour":{}}'}, "Colour"),
        ({"meta_dynamic[0]": "5"}, "object"),
        ({"options[0]": "5"}, "options"),
        ({"options[0]": '{"secret":true}'}, "secret"),
        ({"options[0]": '{"protected":"perhaps"}'}, "protected"),
        ({"options[0]": '{"protected":{}}'}, "protected"),
        ({"optimize_source": "gif"}, "optimize_source"),
    ],
)
def test_bad_fields_are_refused_and_nothing_is_kept(acme, alice, fields, says, storage_dir):
    response = alice.upload(acme, images.png(), **fields)
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]
    assert not SourceImage.objects.exists()
    assert files_in(storage_dir) == []


def test_what_this_server_cannot_do_is_refused_with_a_reason(acme, alice):
    frame = upload_form(alice.api, "/sourceimages/acme", ("url[0]", None, b"https://example.org/a.mp4@00:01:02"))
    described = alice.upload(acme, images.png(), **{"meta_static[0]": '{"auto_description":{"languages":["en"]}}'})
    detected = alice.upload(acme, images.png(), **{"meta_dynamic[0][detection_face]": "{}"})
    for response in (frame, described, detected):
        assert response.status_code == 403
        assert response.json()["error"]["reason"] == "feature_unavailable"


@pytest.mark.parametrize("value", ["true", "1", "jpg", '"png"', "false", "0"])
def test_optimizing_skips_other_formats(acme, alice, value):
    assert alice.upload(acme, images.png(), optimize_source=value).status_code == 200
    assert StoredFile.objects.get().optimize_to == ""


@pytest.mark.parametrize(("value", "kept"), [("true", "png"), ("jpg", "jpg"), ("false", "")])
def test_optimizing_a_tiff_is_queued(acme, alice, value, kept):
    assert alice.upload(acme, images.encoded(images.image(), "TIFF"), optimize_source=value).status_code == 200
    assert StoredFile.objects.get().optimize_to == kept


def test_no_file_is_refused(acme, alice):
    for response in (
        upload_form(alice.api, "/sourceimages/acme", ("meta_user[0]", None, b"{}")),
        upload_form(alice.api, "/sourceimages/acme"),
        alice.api.post("/sourceimages/acme", {"a": 1}, format="json"),
        alice.api.post("/sourceimages/acme"),
    ):
        assert response.status_code == 400


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("café 😀.png", "café 😀.png"),
        ('a\\"b.png', 'a"b.png'),
        ("'><svg onload=alert(1)>.png", "'><svg onload=alert(1)>.png"),
        ("CON.png", "CON.png"),
        ("a&amp;b.png", "a&amp;b.png"),
        ("100%.png", "100%.png"),
        ("a%20b%2Fc.png", "a%20b%2Fc.png"),
        ("a%22b%22.png", 'a"b".png'),
        ("n" * 500, "n" * 500),
        ("../../etc/passwd", "passwd"),
        ("/photos/2026/a.png", "a.png"),
        ("C:\\\\fakepath\\\\a.png", "a.png"),
        ("..", "image.png"),
        (".", "image.png"),
        ("/", "image.png"),
        ("photos/..", "image.png"),
        ("photos/", "image.png"),
    ],
)
def test_names_are_kept_as_they_were_meant_without_directories(acme, alice, sent, name):
    """Browsers escape quotes and line ends (HTML); directories are the sender's business (RFC 7578, 4.2)."""
    response = upload_form(alice.api, "/sourceimages/acme", ("filedata", sent, images.png()))
    assert response.json()["items"][0]["name"] == name
    assert consistency_errors() == []


def test_a_file_without_a_name_is_called_after_its_format(acme, alice, member):
    for person in (alice, member(Role.UPLOAD)):
        response = upload_form(person.api, "/sourceimages/acme", ("filedata", "..", images.jpeg()))
        assert response.json()["items"][0]["name"] == "image.jpg"
    assert acme.images.get().name == "image.jpg"


@pytest.mark.parametrize("media_type", ["Multipart/Form-Data", "MULTIPART/FORM-DATA"])
def test_media_types_may_be_in_any_case(acme, alice, media_type):
    body = (
        b'--Bb\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + images.png() + b"\r\n--Bb--\r\n"
    )
    response = alice.api.generic("POST", "/sourceimages/acme", body, f"{media_type}; boundary=Bb")
    assert (response.status_code, response.json()["items"][0]["name"]) == (200, "a.png")


def alice_uploads(alice, name):
    return upload_form(alice.api, "/sourceimages/acme", ("filedata", name, images.png()))


def test_parts_that_cannot_be_understood_are_not_passed_over(acme, alice):
    """Django's parser would skip them, and what was said about them would go to the next file."""
    good = b'--b\r\nContent-Disposition: form-data; name="f"; filename="ok.png"\r\n\r\n' + images.png() + b"\r\n"
    for header in (
        b'name="f"; filename="caf\xe9.png"',
        b'filename="a.png"',
    ):
        bad = b"--b\r\nContent-Disposition: form-data; " + header + b"\r\n\r\n" + images.png(seed=1) + b"\r\n"
        response = alice.api.generic(
            "POST", "/sourceimages/acme", bad + good + b"--b--\r\n", "multipart/form-data; boundary=b"
        )
        assert response.status_code == 400, header
        assert "1 of the 2 form parts" in response.json()["error"]["message"]
    assert not SourceImage.objects.exists()


def test_a_name_that_is_far_too_long_is_named_as_the_reason(acme, alice):
    response = alice_uploads(alice, "像" * 354)
    assert response.status_code == 400
    assert "file name" in response.json()["error"]["message"]


def test_names_are_normalized(acme, alice):
    response = upload_form(alice.api, "/sourceimages/acme", ("filedata", "cafe\u0301.png", images.png()))
    assert response.json()["items"][0]["name"] == "caf\u00e9.png"


@pytest.mark.parametrize("name", ["a\0.png", "a\x1b[31m.png", "a%0Ab.png", "a%0d%0ab.png", "n" * 501])
def test_bad_names_are_refused(acme, alice, name):
    response = upload_form(alice.api, "/sourceimages/acme", ("filedata", name, images.png()))
    assert response.status_code == 400
    assert response.json()["error"]["reason"] == "invalid_name"
    assert not SourceImage.objects.exists()


def test_a_file_over_the_limit_is_refused_with_the_limit(acme, alice, settings, storage_dir):
    settings.MAX_FILE_SIZE = 1000
    response = alice.upload(acme, b"\x89PNG" + b"x" * 997)
    assert response.status_code == 413
    assert response.json()["error"]["reason"] == "file_too_large"
    assert "1,000" in response.json()["error"]["message"]
    assert files_in(storage_dir) == []


def test_a_request_over_the_limit_is_refused_before_it_is_read(acme, alice, settings):
    settings.MAX_REQUEST_SIZE = 1000
    response = alice.upload(acme, b"x" * 1001)
    assert response.status_code == 413
    assert "MAX_REQUEST_SIZE" in response.json()["error"]["message"]


def test_too_many_or_too_large_fields_are_refused(acme, alice):
    many = alice.upload(acme, images.png(), **{f"field{n}": "x" for n in range(1001)})
    large = alice.upload(acme, images.png(), field="x" * 3_000_000)
    for response in (many, large):
        assert response.status_code == 413
        assert "fields" in response.json()["error"]["message"]
    assert not SourceImage.objects.exists()


def test_too_many_files_are_refused(acme, alice, settings):
    settings.MAX_FILES_PER_REQUEST = 2
    response = alice.upload(acme, *[images.png(seed=n) for n in range(3)])
    assert response.status_code == 413
    assert "MAX_FILES_PER_REQUEST" in response.json()["error"]["message"]
    assert not SourceImage.objects.exists()


def test_an_upload_that_was_cut_off_is_refused(acme, alice, storage_dir):
    head = b'--frontier\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
    for body in (head + images.png(), head + images.png() + b"\r\n--frontier\r\n", head):
        response = alice.api.generic("POST", "/sourceimages/acme", body, "multipart/form-data; boundary=frontier")
        assert response.status_code == 400
    assert not SourceImage.objects.exists()
    assert files_in(storage_dir) == []


def test_formats_that_are_not_allowed_are_refused(acme, alice, settings):
    settings.ALLOWED_FORMATS = ["jpg"]
    response = alice.upload(acme, images.png())
    assert response.status_code == 400
    assert response.json()["error"]["reason"] == "format_not_allowed"


@pytest.mark.parametrize("change", [{"uploaded_sha256": "0" * 64}, {"uploaded_size": 1}])
def test_two_files_with_one_sha1_never_become_one(image, acme, alice, change, storage_dir):
    """As if the file that is here were another one: files that collide in sha1 can be made."""
    StoredFile.objects.update(**change)
    response = alice.upload(acme, images.png())
    assert response.status_code == 409
    assert response.json()["error"]["reason"] == "hash_collision"
    assert SourceImage.objects.count() == StoredFile.objects.count() == 1
    assert len(files_in(storage_dir)) == 1


def test_an_upload_that_takes_too_long_is_given_up(acme, alice, settings, monkeypatch, storage_dir):
    settings.ORPHAN_GRACE_SECONDS = 0
    monkeypatch.setattr("sourceimages.grace_period.MIN_SECONDS", 0)
    set_grace_time(0)
    response = alice.upload(acme, images.png())
    assert response.status_code == 400
    assert response.json()["error"]["reason"] == "incomplete_upload"
    assert files_in(storage_dir) == []


def test_files_made_to_be_slow_do_not_block_the_readers(acme, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.operations.add.PROBE_BUDGET_SECONDS", 0)
    response = alice.upload(acme, images.png())
    assert response.status_code == 503
    assert not SourceImage.objects.exists()


def test_a_spool_without_room_is_a_storage_that_is_unavailable(acme, alice, storage_dir):
    storage_dir.write_bytes(b"a file where the folder should be")
    response = alice.upload(acme, images.png())
    assert response.status_code == 503
    assert response.json()["error"]["reason"] == "storage_unavailable"


@pytest.mark.django_db(transaction=True)
def test_an_upload_whose_known_file_is_purged_meanwhile_is_tried_again(acme, alice, image, monkeypatch):
    """The foreign key is checked when the transaction ends; the second attempt stores the file again."""
    keep, files = StagedUploads.stage, []

    def keep_and_purge(keeper, uploads):
        files.extend(found := keep(keeper, uploads))
        if len(files) == 1:
            delete_image(image, actor=COMMAND)
            Tombstone.objects.update(expires_at=timezone.now())
            purge_expired()
        return found

    monkeypatch.setattr(StagedUploads, "stage", keep_and_purge)
    response = alice.upload(acme, images.png())
    assert (response.status_code, response.json()["items"][0]["hash"]) == (200, image.hash)
    assert len(files) == 2
    assert acme.images.get().file_id != image.file_id
    assert consistency_errors() == []


def test_short_hashes_grow_when_they_collide(acme, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.hashes.MIN_SHORT_HASH", 1)
    items = [alice.upload(acme, images.png(seed=n)).json()["items"][0] for n in range(60)]
    short_hashes = [item["short_hash"] for item in items]
    assert len(set(short_hashes)) == 60
    assert max(map(len, short_hashes)) > min(map(len, short_hashes)) == 1
    for item in items:
        assert alice.api.get(f"/sourceimages/acme/{item['short_hash']}").json()["hash"] == item["hash"]
    assert consistency_errors(verify_checksums=False) == []


def test_every_upload_is_in_the_audit_trail(acme, alice):
    response = alice.upload(acme, images.png(), name="a.png")
    event = AuditEvent.objects.get(action="image.created")
    assert event.target == response.json()["items"][0]["hash"]
    assert (event.user, event.source, event.details) == (alice.user, "api", {"name": "a.png"})
    assert event.request_id == response.headers["X-Request-Id"]
    assert event.address == "127.0.0.1"


def test_a_user_who_can_only_upload_sees_no_existing_data(acme, alice, member):
    fields = {"meta_user[0]": '{"secret":"x"}'}
    alice.upload(acme, images.png(), name="secret.png", **fields)
    acme.images.update(locked=True, created="2020-01-01T00:00:00Z")
    before = SourceImage.objects.values().get()

    uploader = member(Role.UPLOAD)
    item = uploader.upload(acme, images.png(), name="mine.png", **{"meta_user[0]": '{"a":"b"}'}).json()["items"][0]

    assert (item["name"], item["user_metadata"], item["locked"]) == ("mine.png", {"a": "b"}, False)
    assert not item["created"].startswith("2020")
    assert SourceImage.objects.values().get() == before


def test_roles_are_checked_before_the_body_is_read(acme, member, charlie):
    for person in (member(Role.READ), charlie):
        response = person.api.generic("POST", "/sourceimages/acme", b"no form at all", "multipart/form-data")
        assert response.status_code == 403
