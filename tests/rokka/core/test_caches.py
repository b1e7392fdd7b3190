"""Caching headers: proxies and browsers don't cache private responses."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

from organizations.permissions import Role
from tests.support.staff import logged_in, superuser

PRIVATE = "private, no-store"


def vary(answer):
    return {name.strip().lower() for name in answer.headers.get("Vary", "").split(",")}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sourceimages/acme", 200),
        ("GET", "/user/apikeys/token", 200),
        ("POST", "/user/apikeys", 201),
        ("GET", "/organizations/acme", 200),
        ("GET", "/nothing", 404),
        ("GET", "/sourceimages/acme/abcdef", 404),
        ("PATCH", "/sourceimages/acme", 405),
        ("GET", "/sourceimages/other", 404),
        ("PUT", "/organizations/acme/options", 400),
    ],
)
def test_no_response_of_the_api_is_cached(alice, method, path, status):
    answer = alice.api.generic(method, path, b"x" if status == 400 else b"")
    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == PRIVATE
    assert {"api-key", "authorization"} <= vary(answer)


def test_no_error_is_cached(acme, member):
    for client, status in (
        (APIClient(), 403),
        (APIClient(headers={"Authorization": "Bearer nonsense"}), 401),
        (member(Role.UPLOAD).api, 403),
    ):
        answer = client.get("/sourceimages/acme")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (status, PRIVATE)
        assert {"api-key", "authorization"} <= vary(answer)


def test_errors_before_any_view_are_not_cached(db):
    answer = Client().get("/user", headers={"Host": "not.ours"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (400, PRIVATE)


def test_a_server_error_is_not_cached(image, alice, monkeypatch):
    monkeypatch.setattr("sourceimages.api.source_images.SourceImageViewSet.retrieve", lambda *args, **kwargs: 1 / 0)
    api = alice.api
    api.raise_request_exception = False
    answer = api.get(f"/sourceimages/acme/{image.hash}")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (500, PRIVATE)


def test_a_preflight_response_has_vary_headers(db):
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    answer = Client().options("/sourceimages/acme", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == PRIVATE
    assert {"api-key", "authorization", "origin"} <= vary(answer)


def test_originals_are_cached_only_with_revalidation(image, alice):
    answer = alice.api.get(f"/sourceimages/acme/{image.hash}/download")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert {"api-key", "authorization"} <= vary(answer)


def test_health_is_asked_each_time(db):
    for path in ("/health/live", "/health/ready"):
        assert "no-store" in Client().get(path).headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/admin/", "/admin", "/admin/sourceimages/sourceimage/", "/admin/login/"])
def test_no_page_of_the_admin_is_cached(acme, path):
    for browser in (logged_in(superuser()) if path != "/admin/login/" else Client(), Client()):
        answer = browser.get(path)
        assert answer.status_code in (200, 302)
        assert {"private", "no-store"} <= {word.strip() for word in answer.headers["Cache-Control"].split(",")}
        assert "cookie" in vary(answer)


def test_static_files_can_be_cached_publicly(db, settings):
    settings.WHITENOISE_USE_FINDERS = True
    answer = Client().get("/static/sourceimages/protected.svg")
    assert answer.status_code == 200
    assert "public" in answer.headers["Cache-Control"]
    assert "api-key" not in vary(answer)
