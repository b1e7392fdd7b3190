"""NUL, which PostgreSQL can't store, is refused in every part of a request, whatever the database."""

import json
import re
from typing import Any

import pytest
from django.db import DataError

from organizations.api.organizations import OrganizationsViewSet
from sourceimages.models import SourceImage
from tests.organizations.api.test_every_endpoint import ENDPOINTS
from tests.support import images
from tests.support.staff import everything

NUL = "a\0b"
PARAMETER = re.compile(r"\{\w+\}")
PATHS = {
    (endpoint.method, endpoint.path[: match.start()] + "a%00b" + endpoint.path[match.end() :])
    for endpoint in ENDPOINTS
    for match in PARAMETER.finditer(endpoint.path)
}
# Parameters that are compared with text or parsed, one that is not read, and pages outside of the API.
QUERIES = [
    *(f"/sourceimages/acme?{name}=%00" for name in ("binaryHash", "sort", "cursor", "q", "user:artist", "nothing")),
    "/sourceimages/acme?user:%00=x",
    "/sourceimages/acme?user:artist=x%00y",
    "/sourceimages/acme/download?binaryHash=%00",
    "/jobs/acme?cursor=%00",
    "/audit/acme?action=%00",
    "/stats/acme?from=%00",
    "/stacks/acme?limit=%00",
    "/user/apikeys/token?ips=%00",
    "/nothing/%00",
    "/static/a%00.css",
    "/admin/%00",
    "/admin/login/?next=%00",
    "/admin/organizations/organization/%00/",
    "/admin/sourceimages/sourceimage/?q=%00",
    "/doc?x=%00",
]
BODIES = [
    ("POST", "/users", {"email": "a\0@example.org"}),
    ("POST", "/users", {"email": "a@example.org", "organization": NUL}),
    ("POST", "/user/apikeys", {"comment": NUL}),
    ("PUT", "/organizations/fresh", {"displayName": NUL}),
    ("PUT", "/organizations/fresh", {"billingEmail": "a\0@example.org"}),
    ("PUT", "/organizations/acme/options", {"remote_basepath": NUL}),
    ("PUT", "/organizations/acme/options", {NUL: True}),
    ("PUT", "/organizations/acme/options/remote_basepath", NUL),
    ("POST", "/organizations/acme/memberships", {"roles": [NUL]}),
    ("POST", "/organizations/acme/memberships", {"roles": ["read"], "comment": NUL}),
    ("PUT", "/organizations/acme/memberships/{user}", {"roles": [NUL]}),
    ("PUT", "/organizations/acme/memberships/{user}", {"roles": ["read"], "comment": NUL}),
    ("POST", "/utils/acme/sign_url", {"url": f"https://acme.localhost/{NUL}"}),
    ("PUT", "/sourceimages/acme/{hash}/name", NUL),
    ("PUT", "/sourceimages/acme/{hash}/options/protected", NUL),
    ("PUT", "/sourceimages/acme/{hash}/meta/user", {"artist": NUL}),
    ("PUT", "/sourceimages/acme/{hash}/meta/user", {"a\0": "x"}),
    ("PATCH", "/sourceimages/acme/{hash}/meta/user", {"array:tags": [NUL]}),
    ("PUT", "/sourceimages/acme/{hash}/meta/user/artist", NUL),
    ("PUT", "/sourceimages/acme/{hash}/meta/dynamic/subject_area", {"x": 1, "y": 1, "width": NUL}),
    ("PUT", "/sourceimages/acme/{hash}/meta/dynamic/crop_area", {NUL: 1}),
    ("PUT", "/sourceimages/acme/alias/logo", {"hash": NUL}),
    ("POST", "/jobs/acme", {"kind": NUL}),
    ("POST", "/jobs/acme", {"kind": "copy_all", "destination": NUL}),
    ("POST", "/jobs/acme", {"kind": "restore_deletion", "deletion_id": NUL}),
    ("PUT", "/stacks/acme/thumb", {"operations": [{"name": "text", "options": {"text": NUL}}]}),
    ("PUT", "/stacks/acme/thumb", {"operations": [], "variables": {"a": NUL}}),
]
FORMS = [
    {"meta_user[0]": json.dumps({"artist": NUL})},
    {"meta_user[0]": NUL},
    {"meta_dynamic[0][subject_area]": json.dumps({"x": NUL})},
    {"options[0]": json.dumps({NUL: True})},
    {"optimize_source": NUL},
    {"url[1]": f"https://example.org/{NUL}"},
]


def rows() -> list[Any]:
    return [everything(), list(SourceImage.objects.values())]


def test_paths_are_refused(image, alice):
    for method, pattern in sorted(PATHS):
        path = PARAMETER.sub("acme", pattern.replace("{hash}", image.hash))
        response = alice.api.generic(method, path, b"" if method in ("GET", "DELETE") else b"{}")
        assert (response.status_code, response.json()["reason"]) == (400, "invalid"), (method, path)


@pytest.mark.parametrize("path", QUERIES)
def test_paths_and_queries_are_refused_with_a_message(image, alice, path):
    response = alice.api.get(path)
    assert response.status_code == 400
    assert response.json()["message"] == "The path and the query must not contain NUL characters."


@pytest.mark.parametrize("path", ["/sourceimages/acme?q=%2500", "/sourceimages/acme?q=00%2000"])
def test_escaped_percent_signs_are_no_nul(image, alice, path):
    assert alice.api.get(path).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
def test_bodies_are_refused_and_nothing_changes(image, alice, method, path, body):
    alice.api.get("/organizations/acme")  # accepts the membership
    before = rows()
    text, path = json.dumps(body).replace("{hash}", image.hash), path.format(hash=image.hash, user=alice.user.pk)
    response = alice.api.generic(method, path, text, content_type="application/json")
    assert response.status_code in (400, 404)
    assert rows() == before


@pytest.mark.parametrize("fields", FORMS)
def test_forms_are_refused_and_nothing_is_stored(acme, alice, fields):
    assert alice.upload(acme, images.png(), **fields).status_code == 400
    assert not SourceImage.objects.exists()


def test_a_session_cookie_is_refused(client, db):
    assert client.get("/admin/", headers={"cookie": 'sessionid="a\\000b"'}).status_code == 400


@pytest.mark.parametrize(
    "error",
    [
        DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        DataError("unsupported Unicode escape sequence\nDETAIL:  \\u0000 cannot be converted to text."),
        ValueError("embedded null byte"),
    ],
)
def test_errors_of_the_database_and_the_file_system_become_a_refusal(alice, monkeypatch, error):
    def fail(*arguments: object, **parameters: object) -> None:
        raise error

    monkeypatch.setattr(OrganizationsViewSet, "list", fail)
    response = alice.api.get("/organizations")
    assert (response.status_code, response.json()["message"]) == (400, "Texts must not contain NUL characters.")


@pytest.mark.parametrize("error", [DataError("integer out of range"), ValueError("invalid")])
def test_other_errors_stay_errors(alice, monkeypatch, error):
    def fail(*arguments: object, **parameters: object) -> None:
        raise error

    monkeypatch.setattr(OrganizationsViewSet, "list", fail)
    with pytest.raises(type(error)):
        alice.api.get("/organizations")
