"""Which requests are render URLs, and their path as it was sent."""

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from rendering import middleware
from rendering.middleware import RenderMiddleware, raw_path

pytestmark = pytest.mark.any_database


@pytest.fixture
def route(settings, monkeypatch):
    """Organization and path of a render URL; None if the request goes to the rest of the server."""
    settings.ALLOWED_HOSTS = ["api.example.org", ".other.org"]
    settings.RENDER_DOMAIN = "example.org"
    found = []
    monkeypatch.setattr(middleware, "render", lambda request, *located: found.append(located) or HttpResponse())
    handler = RenderMiddleware(lambda request: found.append(None) or HttpResponse())

    def route(path: str, host: str = "acme.example.org"):
        handler(RequestFactory().get(path, headers={"host": host}))
        return found[-1] and found[-1][:2]

    return route


@pytest.mark.parametrize(
    ("host", "path", "located"),
    [
        ("acme.example.org", "/thumb/0123abcd.jpg", ("acme", "/thumb/0123abcd.jpg")),
        ("ACME.example.org:8443", "/thumb/0123abcd.jpg", ("acme", "/thumb/0123abcd.jpg")),
        ("acme.example.org", "/", ("acme", "/")),
        ("api.example.org", "/thumb/0123abcd.jpg", None),
        ("example.org", "/thumb/0123abcd.jpg", None),
        ("a.b.example.org", "/thumb/0123abcd.jpg", None),
        ("acme.example.org.evil.net", "/thumb/0123abcd.jpg", None),
        ("api.example.org", "/render/acme/thumb/0123abcd.jpg", ("acme", "/thumb/0123abcd.jpg")),
        ("www.other.org", "/render/acme/thumb/0123abcd.jpg", ("acme", "/thumb/0123abcd.jpg")),
        ("api.example.org", "/render/acme", None),
        ("api.example.org", "/sourceimages/acme", None),
    ],
)
def test_render_urls_are_found_by_host_or_path(route, host, path, located):
    assert route(path, host) == located


@pytest.mark.parametrize("text", ["ä", "日本", "\U000f4d59\x0b", "%", " ", "?"])
def test_any_text_in_a_path_is_encoded_again(text):
    request = RequestFactory().get("/")
    request.path_info = f"/render/acme/{text}"
    assert raw_path(request).isascii()
    assert "?" not in raw_path(request)


def test_the_raw_path_of_the_server_is_preferred():
    request = RequestFactory().get("/a/b", RAW_URI="/a%2Fb?c=d")
    assert raw_path(request) == "/a%2Fb"
    assert raw_path(RequestFactory().get("/a/b", REQUEST_URI="http://example.org/a%2Fb")) == "/a%2Fb"
