"""Routes render URLs to their view, before the middleware for sessions, CSRF tokens and CORS, which they don't need."""

from collections.abc import Callable
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from rendering.grammar import locate
from rendering.views import render

GetResponse = Callable[[HttpRequest], HttpResponseBase]
UNESCAPED = "/-._~!$&'()*+,;=:@[]"  # characters that clients send in paths as they are


class RenderMiddleware:
    """Answers `{organization}.{RENDER_DOMAIN}/…`, and `/render/{organization}/…` on every host."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        # Hosts of the API below RENDER_DOMAIN, such as api.example.org.
        self.other_hosts = {host for host in settings.ALLOWED_HOSTS if not host.startswith((".", "*"))}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        host = request.META.get("HTTP_HOST", "").lower()
        domain = "" if host.partition(":")[0] in self.other_hosts else settings.RENDER_DOMAIN
        located = locate(host, raw_path(request), domain)
        if located is None:
            return self.get_response(request)
        return render(request, *located)


def raw_path(request: HttpRequest) -> str:
    """The path as it was sent, still percent-encoded, which signatures and separators depend on.

    Servers that pass only the decoded path lose the difference between `/` and `%2F`; a proxy can send X-Raw-Uri.
    """
    for name in ("HTTP_X_RAW_URI", "RAW_URI", "REQUEST_URI"):
        if target := request.META.get(name):
            path = str(target).partition("?")[0]
            return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]
    return quote(request.path_info, safe=UNESCAPED)
