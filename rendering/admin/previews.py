"""Previews of images in the admin, over HTTP."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.templatetags.static import static
from django.urls import path
from django.utils.cache import get_conditional_response

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.auth.staff import staff_of
from rendering.previews import SIZES, preview, preview_recipe
from sourceimages.admin.list_view import can_view


class PreviewMixin(ReadOnlyAdmin):
    """The URL of previews."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.preview, cacheable=True)
        return [path("<int:pk>/preview/<str:size>/", view, name="sourceimages_preview"), *super().get_urls()]

    @error_page
    def preview(self, request: HttpRequest, pk: int, size: str) -> HttpResponseBase:
        """Return a preview as WebP. Previews of protected images require permission to download them.

        Browsers ask again each time whether it has changed, as has the permission to see it.
        """
        image = self.get_queryset(request).select_related("file").filter(pk=pk).first()
        if image is None or size not in SIZES:
            return HttpResponse(status=404)
        if not can_view(staff_of(request), image):
            return HttpResponseRedirect(static("sourceimages/protected.svg"))
        upright = "stored" not in request.GET
        etag = preview_recipe(image.file, size, upright=upright).etag
        response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
        if response is None:
            found = preview(image, size, upright=upright)
            if found is None:
                return HttpResponseRedirect(static("sourceimages/no-preview.svg"))
            with found.file:
                response = HttpResponse(found.file.read(), content_type="image/webp")
        response["ETag"] = etag
        response["Cache-Control"] = "private, no-cache"
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response
