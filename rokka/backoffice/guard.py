"""Makes images read-only in the admin while the database and the storage don't match."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse

from rokka.core.errors import DomainError
from rokka.core.http import error_response, status_of
from sourceimages import ownership

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
IMAGE_URL_NAMES = ("sourceimages_", "organizations_job_")  # prefixes of URL names
READ_ONLY_ACTIONS = {"download"}  # bulk actions that use POST only because their selection can be long


class StorageMismatchMiddleware:
    """Rejects requests to the admin that would change images. Users who are not logged in get the login page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if not writes_images(request) or not admin.site.has_permission(request):
            return None
        try:
            ownership.check_writable()
        except DomainError as error:
            return mismatch_response(request, error)
        return None


def writes_images(request: HttpRequest) -> bool:
    """Return whether the request could change images."""
    match = request.resolver_match
    if request.method in SAFE_METHODS or match is None or match.namespace != "admin":
        return False
    if not (match.url_name or "").startswith(IMAGE_URL_NAMES):
        return False
    return request.method != "POST" or request.POST.get("kind") not in READ_ONLY_ACTIONS


def mismatch_response(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return an error page, or JSON for the upload page."""
    status = int(status_of(error))
    if request.method != "POST":
        return error_response(status, error.message, error.reason)
    context = admin.site.each_context(request) | {"title": "Action failed", "message": error.message}
    return TemplateResponse(request, "admin/error.html", context, status=status)
