"""Middleware: request log and IDs, trusted proxies, time limits, paths, media types, NUL, caching headers."""

import ipaddress
import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

from rokka.core import time_limits
from rokka.core.addresses import forwarded_address, is_from_proxy
from rokka.core.errors import InvalidInput
from rokka.core.http import error_response, unavailable
from rokka.core.logs import redact

log = structlog.get_logger()

GetResponse = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
# Any other method is a word of the caller, which can be a secret.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY"}
# Messages of psycopg for text, of PostgreSQL for JSON, and of Python for paths of files.
NUL_ERROR = re.compile(r"\bNUL\b|\\u0000|embedded null (byte|character)")
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
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
    """Sets REMOTE_ADDR to the address of the client behind TRUSTED_PROXIES. IPv4-mapped IPv6 addresses become IPv4.

    WSGI has one name for X-Forwarded-For and X_Forwarded_For, so the proxy has to remove headers with underscores.

    X-Raw-Uri, the request target as a proxy has received it, is removed unless a trusted proxy has sent it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.trusted = [ipaddress.ip_network(network) for network in settings.TRUSTED_PROXIES]

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.META["rokka.trusted_proxy"] = is_from_proxy(request.META, self.trusted)
        if not request.META["rokka.trusted_proxy"]:
            request.META.pop("HTTP_X_RAW_URI", None)
        request.META["REMOTE_ADDR"] = forwarded_address(request.META, self.trusted)
        return self.get_response(request)


class TimeLimitMiddleware:
    """Applies READ_TIMEOUT_SECONDS or WRITE_TIMEOUT_SECONDS to each request. Streamed bodies are not part of it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with time_limits.limited(time_limits.READ if request.method in SAFE_METHODS else time_limits.WRITE):
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for views outside of the API, which has its own exception handler."""
        return unavailable(request, error) if isinstance(error, time_limits.TimeLimitExceeded) else None


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


class ContentSecurityPolicyMiddleware:
    """Allows pages to load and run only what this server serves, without inline scripts and styles.

    Responses with a policy of their own keep it.
    """

    POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.POLICY)
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


class NulMiddleware:
    """Answers 400 to requests with a NUL character, which neither PostgreSQL nor file systems accept.

    Paths, queries and cookies are refused here, with the same response on every database. NUL in a body is usually
    refused by the field; if it is not, the error of the database or the file system gets the same response.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return self._refusal("The path and the query")
        if any("\0" in value for value in request.COOKIES.values()):  # cookies can have octal escapes
            return self._refusal("Cookies")
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, (DataError, ValueError)) and NUL_ERROR.search(str(error)):
            log.warning("request.nul", exc_info=True)
            return self._refusal("Texts")
        return None

    @staticmethod
    def _refusal(subject: str) -> HttpResponse:
        return error_response(400, f"{subject} must not contain NUL characters.", InvalidInput.reason)


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
