"""Middleware: request log and IDs, trusted proxies, normalized paths and media types, caching headers."""

import ipaddress
import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers

from rokka.core.logs import redact

log = structlog.get_logger()

GetResponse = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
# Any other method is a word of the caller, which can be a secret.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY"}
UNLOGGED_PATHS = {"/health/live", "/health/ready"}


class RequestLogMiddleware:
    """Logs each request, with an ID that is added to all its log lines and to the response (X-Request-Id)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if REQUEST_ID.match(sent) and redact(sent) == sent else uuid.uuid4().hex
        request.META["rokka.request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        if request.path not in UNLOGGED_PATHS:
            log.info(
                "request",
                method=request.method if request.method in METHODS else "other",
                path=request.path,
                status=response.status_code,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
        return response


class TrustedProxyMiddleware:
    """Sets REMOTE_ADDR to the address of the client behind TRUSTED_PROXIES.

    X-Forwarded-For is read from its end, where trusted proxies append. The first address that is not a trusted proxy is
    the client's; the addresses before it were sent by the client and are ignored.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.trusted = [ipaddress.ip_network(network) for network in settings.TRUSTED_PROXIES]

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        forwarded = request.headers.get("X-Forwarded-For", "").split(",") if self.trusted else []
        while forwarded and self._is_proxy(request.META.get("REMOTE_ADDR", "")):
            try:
                request.META["REMOTE_ADDR"] = str(ipaddress.ip_address(forwarded.pop().strip()))
            except ValueError:
                break  # not an address: use the last known proxy
        return self.get_response(request)

    def _is_proxy(self, address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in network for network in self.trusted)
        except ValueError:
            return False


class EmptyBodyMiddleware:
    """Removes the content type of responses without a body: clients would try to parse the empty body."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not response.streaming and not getattr(response, "content", b"") and request.method != "HEAD":
            del response["Content-Type"]
        return response


class PrivateResponseMiddleware:
    """Disables caching of responses that don't set Cache-Control, and adds the credentials' headers to `Vary`.

    It is the outermost middleware but for the request log, so that it covers error responses of the others.
    """

    API = ("Api-Key", "Authorization")
    ADMIN = ("Cookie",)

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-store"
        if not request.path_info.startswith(settings.STATIC_URL):
            patch_vary_headers(response, self.ADMIN if request.path_info.startswith("/admin/") else self.API)
        return response


class LowerCaseMediaTypeMiddleware:
    """Lowercases the media type of requests, because it is case-insensitive (RFC 9110, 8.3.1)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        media_type, semicolon, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
        if media_type:
            request.META["CONTENT_TYPE"] = media_type.lower() + semicolon + parameters
        return self.get_response(request)


class NormalizePathMiddleware:
    """Removes repeated leading slashes and trailing slashes, because clients join hosts and paths differently.

    `//sourceimages/acme/` becomes `/sourceimages/acme`. Paths of the admin keep their trailing slash.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = "/" + request.path_info.lstrip("/")
        if path == "/admin":
            path = "/admin/"
        if not path.startswith("/admin/"):
            path = path.rstrip("/") or "/"
        request.path_info = path
        return self.get_response(request)
