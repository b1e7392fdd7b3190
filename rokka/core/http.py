"""Error responses: maps errors to HTTP statuses and JSON bodies."""

import sys
from http import HTTPStatus
from typing import Any

from django.core.exceptions import DisallowedHost
from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views.csrf import csrf_failure as django_csrf_failure

from rokka.core.connections import WAIT_SECONDS, is_exhausted
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
    Unprocessable,
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
    Unprocessable: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
READ_ONLY = "25006"  # PostgreSQL's SQLSTATE for a write in a read-only transaction, such as on a standby
DATABASE_UNAVAILABLE = "The database is unavailable. Try again."
POOL_EXHAUSTED = (
    f"No connection to the database was free within {WAIT_SECONDS} seconds (DATABASE_POOL_SIZE), or the database "
    "does not respond. Try again."
)
# By the SQLSTATE of PostgreSQL or the name of SQLite's error, what an operator has to repair.
DATABASE_PROBLEMS = {
    READ_ONLY: "The database is read-only. Try again later.",
    "53100": "The disk of the database is full. Try again later.",
    "SQLITE_READONLY": "The database is read-only. Try again later.",
    "SQLITE_CANTOPEN": "The file of the database can't be opened or written. Try again later.",
    "SQLITE_FULL": "The disk of the database is full. Try again later.",
    "SQLITE_IOERR": "The disk of the database fails. Try again later.",
}


def error_body(status: int, message: str, reason: str, *, invalid_authentication: bool = False) -> dict[str, Any]:
    """Return the JSON of an error: nested under `error`, and repeated at the top level for older clients."""
    fields: dict[str, Any] = {"code": int(status), "message": message, "reason": reason}
    body: dict[str, Any] = {"error": fields, **fields}
    if invalid_authentication:
        body["invalid_authentication"] = True
    return body


def status_of(error: DomainError) -> HTTPStatus:
    """Return the status of the error's most specific base class in STATUS."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def is_unavailable(error: DatabaseError) -> bool:
    """Return whether the database is locked, unreachable or read-only, or ended a deadlock."""
    return isinstance(error, OperationalError) or getattr(error.__cause__, "sqlstate", None) == READ_ONLY


def database_problem(error: DatabaseError) -> str:
    """The message for a caller while the database is unavailable."""
    cause = error.__cause__
    if is_exhausted(error):
        return POOL_EXHAUSTED
    if isinstance(cause, OSError):  # the file that queues the writers of SQLite
        return DATABASE_PROBLEMS["SQLITE_CANTOPEN"]
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    found = (message for name, message in DATABASE_PROBLEMS.items() if code.startswith(name))
    return next(found, DATABASE_UNAVAILABLE)


def error_response(status: int, message: str, reason: str) -> HttpResponse:
    """An error as JSON; 503 with Retry-After."""
    response = JsonResponse(error_body(status, message, reason), status=status)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = str(Unavailable.retry_seconds)
    return response


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
    """Answer to an exception of any view or middleware: 503 while the database is unavailable, else 500."""
    error = sys.exc_info()[1]
    if isinstance(error, DatabaseError) and is_unavailable(error):
        return unavailable(request, Unavailable(database_problem(error)))
    return error_response(500, "Internal server error. See the server's log for details.", "server_error")


def unavailable(request: HttpRequest, error: Unavailable) -> HttpResponse:
    """Answer 503: a page in the admin, which no query is needed for, and JSON elsewhere."""
    response = error_response(int(status_of(error)), error.message, error.reason)
    response["Retry-After"] = str(error.retry_seconds)
    if request.path_info.startswith("/admin/") and request.method != "PUT":  # PUT is the upload page's
        response.content = render_to_string("admin/unavailable.html", {"message": error.message})
        response["Content-Type"] = "text/html; charset=utf-8"
    return response
