"""Error responses: maps errors to HTTP statuses and JSON bodies."""

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
READ_ONLY = "25006"  # PostgreSQL's SQLSTATE for a write in a read-only transaction, such as on a standby

log = structlog.get_logger()


def error_body(status: int, message: str, reason: str) -> dict[str, Any]:
    """Return the JSON of an error: nested under `error`, and repeated at the top level for older clients."""
    fields: dict[str, Any] = {"code": int(status), "message": message, "reason": reason}
    body: dict[str, Any] = {"error": fields, **fields}
    if reason in (Unauthenticated.reason, InvalidToken.reason):
        body["invalid_authentication"] = True
    return body


def status_of(error: DomainError) -> HTTPStatus:
    """Return the status of the error's most specific base class in STATUS."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Exception handler of DRF: a response for known errors; None for unexpected ones, which become a 500."""
    match error:
        case DomainError():
            status, message, reason = int(status_of(error)), error.message, error.reason
        case exceptions.APIException():
            status, message, reason = error.status_code, flatten_detail(error.detail), error.default_code
        case Http404():
            status, message, reason = 404, "Not found.", NotFound.reason
        case PermissionDenied():
            status, message, reason = 403, "You do not have permission for this.", Forbidden.reason
        case RequestDataTooBig():
            status, message, reason = 413, "The form fields other than files are too large.", TooLarge.reason
        case TooManyFieldsSent():
            limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            message = f"The form has too many fields. The limit is {limit} besides files."
            status, reason = 413, TooLarge.reason
        case DatabaseError() if is_unavailable(error):
            log.exception("database.unavailable")
            message = "The database is unavailable. Try again."
            status, reason = 503, Unavailable.reason
        case SuspiciousOperation():
            status, message, reason = 400, str(error) or "The request is malformed.", InvalidInput.reason
        case _:
            return None
    if request := context.get("request"):  # views that render HTML return errors as JSON too
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    body, headers = error_body(status, message, reason), {}
    match error:
        case Unavailable() | DatabaseError():
            headers["Retry-After"] = "5"
        case InvalidToken():
            headers["WWW-Authenticate"] = "Bearer"  # required with a 401 (RFC 9110, 15.5.2)
        case exceptions.MethodNotAllowed():
            headers["Allow"] = ", ".join(context["view"].allowed_methods)
        case TooManyRequests():
            retry_at = int(time.time()) + error.seconds
            headers |= {"Retry-After": str(error.seconds), "X-RateLimit-Retry-After": str(retry_at)}
            headers |= {"X-RateLimit-Limit": str(error.limit), "X-RateLimit-Remaining": "0"}
            body |= {
                "status": "too many requests",
                "X-RateLimit-Retry-After-readable": rfc3339(datetime.fromtimestamp(retry_at, UTC)),
            }
    return Response(body, status=status, headers=headers)


def is_unavailable(error: DatabaseError) -> bool:
    """Return whether the database is locked, unreachable or read-only, or ended a deadlock."""
    return isinstance(error, OperationalError) or getattr(error.__cause__, "sqlstate", None) == READ_ONLY


def flatten_detail(detail: Any) -> str:
    """Flatten the nested messages of a DRF validation error into one line."""
    if isinstance(detail, Mapping):
        return " ".join(f"{name}: {flatten_detail(part)}" for name, part in detail.items())
    if isinstance(detail, list):
        return " ".join(flatten_detail(part) for part in detail)
    return str(detail)


def error_response(status: int, message: str, reason: str) -> HttpResponse:
    return JsonResponse(error_body(status, message, reason), status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return Django's CSRF page in the admin, because it explains what to do, and a JSON error elsewhere."""
    if request.path_info.startswith("/admin/"):
        return django_csrf_failure(request, reason)
    return error_response(403, "CSRF verification failed.", Forbidden.reason)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        return error_response(400, "This host name is not allowed. Add it to ALLOWED_HOSTS.", "host_not_allowed")
    return error_response(400, "The request is malformed.", InvalidInput.reason)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(403, "You do not have permission for this.", Forbidden.reason)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(404, f"Nothing found at {request.path[:200]}.", NotFound.reason)


def server_error(request: HttpRequest) -> HttpResponse:
    return error_response(500, "Internal server error. See the server's log for details.", "server_error")


def rfc3339(time: datetime) -> str:
    """Format a time in UTC with whole seconds and `+00:00`, which all clients can parse."""
    return time.astimezone(UTC).isoformat(timespec="seconds")
