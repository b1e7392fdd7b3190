"""What happens to every request: it gets an id and a line in the log, and its path is brought into one form."""

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
    """One line a request, with the id that every line written meanwhile carries and the answer repeats."""

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
    """REMOTE_ADDR becomes the address of the client, as far as TRUSTED_PROXIES vouch for it.

    X-Forwarded-For is read from its end, where our own proxies write; the first address that is none of theirs is
    the client's, and what stands before it is only what the client says.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.trusted = [ipaddress.ip_network(network) for network in settings.TRUSTED_PROXIES]

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        told = request.headers.get("X-Forwarded-For", "").split(",") if self.trusted else []
        while told and self._is_proxy(request.META.get("REMOTE_ADDR", "")):
            try:
                request.META["REMOTE_ADDR"] = str(ipaddress.ip_address(told.pop().strip()))
            except ValueError:
                break  # not an address: the proxy before is the last that we know
        return self.get_response(request)

    def _is_proxy(self, address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in network for network in self.trusted)
        except ValueError:
            return False


class EmptyBodyMiddleware:
    """An answer without a body has no content type: clients would parse the nothing that it promises."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not response.streaming and not getattr(response, "content", b"") and request.method != "HEAD":
            del response["Content-Type"]
        return response


class PrivateResponseMiddleware:
    """No answer is kept by a proxy or a browser unless it says so itself; `Vary` names what it depends on.

    Outermost but for the log, so that refusals of other middleware have it too.
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
    """Media types are compared as they are written here, and may be sent in any case (RFC 9110, 8.3.1)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        media_type, semicolon, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
        if media_type:
            request.META["CONTENT_TYPE"] = media_type.lower() + semicolon + parameters
        return self.get_response(request)


class NormalizePathMiddleware:
    """`//sourceimages/acme/` means `/sourceimages/acme`: clients join hosts and paths as they like.

    The admin keeps its own habits.
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
