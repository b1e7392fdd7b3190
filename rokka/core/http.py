"""How HTTP looks here: the one place that turns errors into answers, and what DRF is told to be tolerant of."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import (
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.db import DatabaseError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.csrf import csrf_failure as django_csrf_failure
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from rokka.core.errors import (
    Conflict,
    DomainError,
    FeatureUnavailable,
    Forbidden,
    InvalidInput,
    InvalidToken,
    Locked,
    NotFound,
    PreconditionFailed,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

STATUS: dict[type[DomainError], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.FORBIDDEN,
    InvalidToken: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    FeatureUnavailable: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Locked: HTTPStatus.LOCKED,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
READ_ONLY = "25006"  # what PostgreSQL calls a write where only reading goes on, as on a standby

log = structlog.get_logger()


def error_body(status: int, message: str, reason: str) -> dict[str, Any]:
    """The error in every shape that a client reads: nested, and once more at the top for failed credentials."""
    facts: dict[str, Any] = {"code": int(status), "message": message, "reason": reason}
    body: dict[str, Any] = {"error": facts, **facts}
    if reason in (Unauthenticated.reason, InvalidToken.reason):
        body["invalid_authentication"] = True
    return body


def status_of(error: DomainError) -> HTTPStatus:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's hook: an answer for every refusal; None lets what nobody expected become a 500."""
    match error:
        case DomainError():
            status, message, reason = int(status_of(error)), error.message, error.reason
        case exceptions.APIException():
            status, message, reason = error.status_code, flatten_detail(error.detail), error.default_code
        case Http404():
            status, message, reason = 404, "There is nothing here.", NotFound.reason
        case PermissionDenied():
            status, message, reason = 403, "This is not allowed.", Forbidden.reason
        case RequestDataTooBig():
            status, message, reason = 413, "The form fields beside the files are too large.", TooLarge.reason
        case TooManyFieldsSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            status, message, reason = 413, f"There are more than {most} form fields beside the files.", TooLarge.reason
        case DatabaseError() if is_unavailable(error):
            log.exception("database.unavailable")
            message = "The database is busy or does not answer. Try again."
            status, reason = 503, Unavailable.reason
        case SuspiciousOperation():
            status, message, reason = 400, str(error) or "The request is malformed.", InvalidInput.reason
        case _:
            return None
    if request := context.get("request"):  # pages that render HTML answer errors like everybody else
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    body, headers = error_body(status, message, reason), {}
    match error:
        case Unavailable() | DatabaseError():
            headers["Retry-After"] = "5"
        case InvalidToken():
            headers["WWW-Authenticate"] = "Bearer"  # a 401 needs one (RFC 9110, 15.5.2)
        case exceptions.MethodNotAllowed():
            headers["Allow"] = ", ".join(context["view"].allowed_methods)
        case TooManyRequests():
            again = int(time.time()) + error.seconds
            headers |= {"Retry-After": str(error.seconds), "X-RateLimit-Retry-After": str(again)}
            headers |= {"X-RateLimit-Limit": str(error.limit), "X-RateLimit-Remaining": "0"}
            body |= {
                "status": "too many requests",
                "X-RateLimit-Retry-After-readable": rfc3339(datetime.fromtimestamp(again, UTC)),
            }
    return Response(body, status=status, headers=headers)


def is_unavailable(error: DatabaseError) -> bool:
    """Is it locked, gone, or read-only, or did it end one of two who waited for each other?"""
    return isinstance(error, OperationalError) or getattr(error.__cause__, "sqlstate", None) == READ_ONLY


def flatten_detail(detail: Any) -> str:
    """DRF's nested messages as one line."""
    if isinstance(detail, Mapping):
        return " ".join(f"{name}: {flatten_detail(part)}" for name, part in detail.items())
    if isinstance(detail, list):
        return " ".join(flatten_detail(part) for part in detail)
    return str(detail)


def error_response(status: int, message: str, reason: str) -> HttpResponse:
    return JsonResponse(error_body(status, message, reason), status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """People in the back-office get Django's page, which says what to do about it."""
    if request.path_info.startswith("/admin/"):
        return django_csrf_failure(request, reason)
    return error_response(403, "This address is not for forms of other sites.", Forbidden.reason)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        return error_response(400, "This server is not meant to be called by this host name.", "host_not_allowed")
    return error_response(400, "The request is malformed.", InvalidInput.reason)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(403, "This is not allowed.", Forbidden.reason)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(404, f"There is nothing at {request.path[:200]}.", NotFound.reason)


def server_error(request: HttpRequest) -> HttpResponse:
    return error_response(500, "Something went wrong on the server. The log has the details.", "server_error")


def rfc3339(moment: datetime) -> str:
    """Whole seconds in UTC with `+00:00`, which every client can read."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")
