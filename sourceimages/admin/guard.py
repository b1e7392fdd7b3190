"""What staff may not do while database and storage do not belong together: change images. They may look at all."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse

from rokka.core.errors import DomainError
from rokka.core.http import error_response, status_of
from sourceimages import ownership

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
IMAGE_URL_NAMES = ("sourceimages_", "organizations_job_")  # how the names of their pages begin
READ_ONLY_ACTIONS = {"download"}  # bulk actions that are sent by POST, as their selection is long, and change nothing


class StorageMismatchMiddleware:
    """Middleware before the pages of the admin that are about images. Strangers meet the pages themselves."""

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
    match = request.resolver_match
    if request.method in SAFE_METHODS or match is None or match.namespace != "admin":
        return False
    if not (match.url_name or "").startswith(IMAGE_URL_NAMES):
        return False
    return request.method != "POST" or request.POST.get("kind") not in READ_ONLY_ACTIONS


def mismatch_response(request: HttpRequest, error: DomainError) -> HttpResponse:
    """A page, or JSON for the page that uploads."""
    status = int(status_of(error))
    if request.method != "POST":
        return error_response(status, error.message, error.reason)
    context = admin.site.each_context(request) | {"title": "This cannot be done", "error": error}
    return TemplateResponse(request, "admin/error.html", context, status=status)
