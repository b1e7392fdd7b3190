"""Uploading in the back-office: a page to drop files on, and the address that takes them, one request a file."""

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
from sourceimages import tasks
from sourceimages.operations import UploadResult, add_images
from sourceimages.uploads.multipart import parse_upload


class UploadMixin(ReadOnlyAdmin):
    """Mixin: uploads."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("upload/", view(self.upload), name="sourceimages_upload"),
            path("upload/<str:name>/", view(self.receive_file), name="sourceimages_take"),
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
        """A multipart form with files, as the API takes it; the answer is JSON for the page above.

        By PUT: of a POST, Django would read the whole form to look for a token, and would not use our spool.
        """
        staff = staff_of(request)
        try:
            if request.method != "PUT":
                raise InvalidInput("Files are sent with PUT.")
            organization = staff.organization(name, Permission.IMAGES_UPLOAD)
            may_read = staff.has_permission(Permission.IMAGES_READ, organization)
            received = parse_upload(request)
            try:
                actor = actor_of(request)
                uploads = received.uploads(organization, actor)
                added = add_images(organization, uploads, can_update=may_read, actor=actor)
            finally:
                received.discard()
        except DomainError as error:
            return error_response(int(status_of(error)), error.message, error.reason)
        tasks.enqueue_optimize(one.image.file for one in added)
        return JsonResponse({"items": [upload_result(one, may_read=may_read) for one in added]})


def upload_result(added: UploadResult, *, may_read: bool) -> dict[str, Any]:
    """What the page says of a file. Who may not read learns nothing of what was here before."""
    href = reverse("admin:sourceimages_sourceimage_change", args=[added.image.pk]) if may_read else ""
    return {"name": added.upload.name, "created": added.created or not may_read, "href": href}
