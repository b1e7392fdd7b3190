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
