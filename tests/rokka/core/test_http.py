"""Errors, headers and paths of all responses."""

import pytest
from django.db import OperationalError
from django.test import Client
from rest_framework.test import APIClient

from sourceimages.api.source_images import SourceImageViewSet

pytestmark = pytest.mark.any_database


def assert_error(response, status):
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body["error"] == {"code": status, "message": body["message"], "reason": body["reason"]}
    assert body["code"] == status
    assert body["message"]


@pytest.mark.parametrize("path", ["/nothing", "/nothing/at/all/", "/sourceimages", "/doc/nothing"])
def test_not_found_is_json(db, client, path):
    assert_error(client.get(path), 404)


def test_a_wrong_method_is_json_and_names_the_right_ones(image, alice):
    for method, path in (("PATCH", "/sourceimages/acme"), ("PATCH", f"/sourceimages/acme/{image.hash}")):
        response = alice.api.generic(method, path)
        assert_error(response, 405)
        assert "GET" in response.headers["Allow"]


def test_an_unexpected_error_is_json(image, alice, monkeypatch):
    monkeypatch.setattr(SourceImageViewSet, "retrieve", lambda *args, **kwargs: 1 / 0)
    api = alice.api
    api.raise_request_exception = False
    assert_error(api.get(f"/sourceimages/acme/{image.hash}"), 500)


def test_a_database_that_is_busy_is_worth_another_try(image, alice, monkeypatch):
    def fail(*args, **kwargs):
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(SourceImageViewSet, "retrieve", fail)
    response = alice.api.get(f"/sourceimages/acme/{image.hash}")
    assert_error(response, 503)
    assert response.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["//sourceimages/acme", "///sourceimages/acme/", "/sourceimages/acme/"])
def test_extra_slashes_are_ignored(acme, alice, path):
    response = alice.api.generic("GET", "/", PATH_INFO=path)
    assert response.status_code == 200


def test_a_body_and_a_content_type_on_get_are_ignored(acme, alice):
    assert alice.api.generic("GET", "/sourceimages/acme", b"", "application/json").status_code == 200
    assert alice.api.get("/sourceimages/acme", headers={"Accept": "text/csv"}).status_code == 200


def test_the_root_checks_a_key(acme, alice):
    response = alice.api.get("/")
    assert response.status_code == 200
    assert "/sourceimages" in response.json()["resources"]
    assert response.json()["environment"] == "standalone"
    assert_error(APIClient().get("/"), 403)


def test_browsers_get_a_page_at_the_root(client):
    response = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "http://testserver" in response.content.decode()


def test_the_documentation_needs_no_key(db, client):
    page = client.get("/doc/")
    assert page.status_code == 200
    assert "/static/drf_spectacular_sidecar/" in page.content.decode()
    assert client.get("/doc/openapi.json").json()["info"]["title"] == "rokka"


def test_requests_have_ids(acme, alice):
    assert len(alice.api.get("/sourceimages/acme").headers["X-Request-Id"]) == 32
    given = alice.api.get("/sourceimages/acme", headers={"X-Request-Id": "my-id.7"})
    assert given.headers["X-Request-Id"] == "my-id.7"
    forged = alice.api.get("/sourceimages/acme", headers={"X-Request-Id": "two words"})
    assert len(forged.headers["X-Request-Id"]) == 32


def test_browsers_can_call_from_other_origins(acme, alice):
    asked = {
        "Origin": "https://shop.example.org",
        "Access-Control-Request-Method": "COPY",
        "Access-Control-Request-Headers": "api-key,api-version,destination,overwrite,content-type,authorization",
    }
    response = APIClient().options("/sourceimages/acme", headers=asked)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "COPY" in response.headers["Access-Control-Allow-Methods"]
    for header in asked["Access-Control-Request-Headers"].split(","):
        assert header in response.headers["Access-Control-Allow-Headers"]
    answer = alice.api.get("/sourceimages/acme", headers={"Origin": "https://shop.example.org"})
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/sourceimages/acme", {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}),
        ("/sourceimages/acme/123456", {"GET", "HEAD", "DELETE", "COPY", "OPTIONS"}),
        ("/sourceimages/acme/123456/meta/user", {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}),
        ("/sourceimages/acme/123456/restore", {"POST", "OPTIONS"}),
        ("/jobs/acme", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/user/apikeys", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/operations", {"GET", "HEAD", "OPTIONS"}),
        ("/", {"GET", "HEAD", "OPTIONS"}),
        ("/doc", {"GET", "HEAD", "OPTIONS"}),
        ("/doc/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ("/health/live", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_options_names_the_methods_of_a_path(acme, alice, path, methods):
    """Without credentials: it reveals nothing about existing objects."""
    for headers in ({}, {"Api-Key": alice.key}, {"Origin": "https://shop.example.org"}):
        response = Client().options(path, headers=headers)
        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Type" not in response.headers
        assert set(response.headers["Allow"].split(", ")) == methods
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "COPY"} - methods:
        refused = Client(headers={"Api-Key": alice.key}).generic(method, path)
        assert refused.status_code == 405, method


def test_options_of_nothing_is_not_found(db):
    assert_error(Client().options("/nothing/here"), 404)
    assert Client().options("/sourceimages/nobody").status_code == 204  # reveals no organization


def test_the_admin_is_closed_to_other_origins(client, db):
    response = client.get("/admin/login/", headers={"Origin": "https://shop.example.org"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_an_unknown_host_is_refused(acme, alice):
    response = alice.api.get("/sourceimages/acme", headers={"Host": "evil.example.org"})
    assert_error(response, 400)
    assert response.json()["reason"] == "host_not_allowed"


def test_health(db, client, storage_dir):
    assert client.get("/health/live").json() == {"status": "ok"}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    checks = ("database", "migrations", "owner", "storage", "cache")
    assert ready.json() == {"status": "ok", "checks": dict.fromkeys(checks, "ok")}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/doc/", "/doc/openapi.json"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_read_only_endpoints_refuse_other_methods(db, path, method):
    response = Client(enforce_csrf_checks=True).generic(method, path)
    assert_error(response, 405)
    assert "GET" in response.headers["Allow"]


def test_it_is_not_ready_without_its_storage(db, client, settings):
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "sourceimages.storage.LocalStorage", "OPTIONS": {"location": "/proc/nowhere"}}
    }
    ready = client.get("/health/ready")
    assert ready.status_code == 503
    failed = [name for name, state in ready.json()["checks"].items() if state == "failed"]
    assert failed == list(ready.json()["problems"]) == ["owner", "storage"]
