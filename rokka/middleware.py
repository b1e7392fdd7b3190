"""What happens to every request: it gets an id and a line in the log, and its path is brought into one form."""

import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponseBase

log = structlog.get_logger("rokka.request")

Handler = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
QUIET = {"/health/live", "/health/ready"}


class RequestLog:
    """One line a request, with the id that every line written meanwhile carries and the answer repeats."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if REQUEST_ID.match(sent) else uuid.uuid4().hex
        request.META["rokka.request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        if request.path not in QUIET:
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
        return response


class TolerantPath:
    """`//sourceimages/acme/` means `/sourceimages/acme`: clients join hosts and paths as they like.

    The admin keeps its own habits.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = "/" + request.path_info.lstrip("/")
        if not path.startswith("/admin/"):
            path = path.rstrip("/") or "/"
        request.path_info = path
        return self.get_response(request)
