"""Uploads in the admin: the page, and the endpoint that receives one file per request."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.auth.staff import actor_of, staff_of
from organizations.permissions import Permission
from rokka.core.errors import DomainError, InvalidInput
from rokka.core.http import error_response, status_of
from sourceimages import queue
from sourceimages.operations import UploadResult, add_images
from sourceimages.uploads.multipart import parse_upload


class UploadMixin(ReadOnlyAdmin):
    """The upload page and its endpoint."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("upload/", view(self.upload), name="sourceimages_upload"),
            path("upload/<str:name>/", view(self.receive_file), name="sourceimages_upload_file"),
        ]
        return [*own, *super().get_urls()]

    @error_page
    def upload(self, request: HttpRequest) -> HttpResponseBase:
        staff = staff_of(request)
        organization = staff.organization(str(request.GET.get("organization", "")), Permission.IMAGES_UPLOAD)
        context = self.admin_site.each_context(request) | {
            "title": f"Upload to {organization.display_name}",
            "organization": organization,
            "limit": settings.MAX_FILE_SIZE,
            "formats": settings.ALLOWED_FORMATS,
        }
        return TemplateResponse(request, "admin/sourceimages/upload.html", context)

    def receive_file(self, request: HttpRequest, name: str) -> HttpResponseBase:
        """Store the files of a multipart form, as the API does. Returns JSON.

        The method is PUT: Django's CSRF check parses the form of a POST, so the file would not be streamed to our
        temporary files.
        """
        staff = staff_of(request)
        try:
            if request.method != "PUT":
                raise InvalidInput("Invalid method: send files with PUT.")
            organization = staff.organization(name, Permission.IMAGES_UPLOAD)
            can_read = staff.has_permission(Permission.IMAGES_READ, organization)
            received = parse_upload(request)
            try:
                actor = actor_of(request)
                uploads = received.uploads(organization, actor)
                results = add_images(organization, uploads, can_update=can_read, actor=actor)
            finally:
                received.discard()
        except DomainError as error:
            return error_response(int(status_of(error)), error.message, error.reason)
        queue.enqueue_optimize(result.image.file for result in results)
        return JsonResponse({"items": [upload_result(result, can_read=can_read) for result in results]})


def upload_result(result: UploadResult, *, can_read: bool) -> dict[str, Any]:
    """Return the JSON of a file. Without permission to read, duplicates look like new images."""
    href = reverse("admin:sourceimages_sourceimage_change", args=[result.image.pk]) if can_read else ""
    return {"name": result.upload.name, "created": result.created or not can_read, "href": href}
