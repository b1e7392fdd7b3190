"""The exception handler of the API. Separate from `rokka.core.http`, because most processes don't import DRF."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent
from django.db import DatabaseError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from rokka.core.clock import rfc3339
from rokka.core.errors import (
    DomainError,
    Forbidden,
    InvalidInput,
    InvalidToken,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from rokka.core.http import database_problem, error_body, is_unavailable, status_of

log = structlog.get_logger()


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
            status, message, reason = 503, database_problem(error), Unavailable.reason
        case SuspiciousOperation():
            status, message, reason = 400, str(error) or "The request is malformed.", InvalidInput.reason
        case _:
            return None
    if request := context.get("request"):  # views that render HTML return errors as JSON too
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    body = error_body(status, message, reason, invalid_authentication=isinstance(error, Unauthenticated))
    headers = {}
    match error:
        case Unavailable():
            headers["Retry-After"] = str(error.retry_seconds)
        case DatabaseError():
            headers["Retry-After"] = str(Unavailable.retry_seconds)
        case InvalidToken():
            headers["WWW-Authenticate"] = "Bearer"  # required with a 401 (RFC 9110, 15.5.2)
            if seconds := error.details.get("retry_after"):
                headers["Retry-After"] = str(seconds)
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


def flatten_detail(detail: Any) -> str:
    """Flatten the nested messages of a DRF validation error into one line."""
    if isinstance(detail, Mapping):
        return " ".join(f"{name}: {flatten_detail(part)}" for name, part in detail.items())
    if isinstance(detail, list):
        return " ".join(flatten_detail(part) for part in detail)
    return str(detail)
