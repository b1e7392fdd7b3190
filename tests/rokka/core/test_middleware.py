import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from rokka.core.middleware import TrustedProxyMiddleware

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not a trusted proxy: the header is ignored
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),  # the first was sent by the client
        ("10.0.0.1", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.7", "10.0.0.7"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1:4711, 10.0.0.7:80", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1:4711", "2001:db8::1:4711"),  # without brackets, all of it is the address
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, ::ffff:10.0.0.7", "198.51.100.1"),
        ("10.0.0.1", "[::ffff:198.51.100.1]:4711", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1:port", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1", "10.0.0.1"),
        ("10.0.0.1", "[]:4711", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(settings, remote, forwarded, address):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    seen = []
    middleware = TrustedProxyMiddleware(lambda request: seen.append(request.META["REMOTE_ADDR"]) or HttpResponse())
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    middleware(RequestFactory().get("/", headers=headers, REMOTE_ADDR=remote))
    assert seen == [address]


def test_without_trusted_proxies_the_header_is_ignored():
    seen = []
    middleware = TrustedProxyMiddleware(lambda request: seen.append(request.META["REMOTE_ADDR"]) or HttpResponse())
    middleware(RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.1"}, REMOTE_ADDR="10.0.0.1"))
    assert seen == ["10.0.0.1"]


@pytest.mark.parametrize(("remote", "kept"), [("10.0.0.1", True), ("203.0.113.9", False)])
def test_only_trusted_proxies_say_what_the_raw_path_is(settings, remote, kept):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    seen = []
    middleware = TrustedProxyMiddleware(lambda request: seen.append("HTTP_X_RAW_URI" in request.META) or HttpResponse())
    middleware(RequestFactory().get("/", headers={"X-Raw-Uri": "/a%2Fb"}, REMOTE_ADDR=remote))
    assert seen == [kept]
