"""The list of pictures as pages: a grid or a table, its counts, and the small pictures in it."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import path

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.auth.staff import StaffAccess, staff_of
from organizations.models import Organization
from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from sourceimages import thumbnails
from sourceimages.admin.bulk_actions import available_actions
from sourceimages.admin.list_filters import VIEWS, Listing, Page
from sourceimages.downloads.access import is_guarded
from sourceimages.errors import IndexNotReady
from sourceimages.models import SourceImage

ORGANIZATION_CHOICES_LIMIT = 500  # that one can choose from; others are found in the list of organizations
ONE_DAY = 86_400


class ListMixin(ReadOnlyAdmin):
    """Mixin: everything that looks at many pictures."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("counts/", view(self.facet_counts), name="sourceimages_counts"),
            path("<int:pk>/preview/<str:size>/", view(self.preview), name="sourceimages_preview"),
        ]
        return [*own, *super().get_urls()]

    @error_page
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        staff = staff_of(request)
        staff.check_anywhere(Permission.IMAGES_READ)
        organizations = list(staff.organizations(Permission.IMAGES_READ).order_by("name")[:ORGANIZATION_CHOICES_LIMIT])
        listing = self.get_listing(request, organizations)
        problem = notice = ""
        try:
            listing.check()
            found, total, notice = listing.page(), listing.total(), listing.notice
        except (InvalidInput, IndexNotReady) as error:  # what was typed stays, beside what is wrong with it
            problem, found, total, listing = error.message, Page([], "", "", ""), "0", listing.without_invalid_filters()
        view = listing.get("view") if listing.get("view") in VIEWS else request.session.get("view", VIEWS[0])
        if request.session.get("view") != view:
            request.session["view"] = view
        context = self.admin_site.each_context(request) | {
            "title": "Pictures",
            "listing": listing,
            "organizations": organizations,
            "page": found,
            "total": total,
            "problem": problem,
            "notice": notice,
            "view": view,
            "views": [(one, listing.url(view=one)) for one in VIEWS],
            "acts": actions_for(staff, listing),
            "may_upload": listing.organization and staff.has_permission(Permission.IMAGES_UPLOAD, listing.organization),
        }
        return TemplateResponse(request, "admin/sourceimages/list.html", context, status=400 if problem else 200)

    @error_page
    def facet_counts(self, request: HttpRequest) -> HttpResponseBase:
        """What the filters of the same list would find, as JSON."""
        listing = self.get_listing(request, [])
        return JsonResponse(listing.facet_counts() if listing.organization else {"total": None, "filters": {}})

    def get_listing(self, request: HttpRequest, organizations: list[Organization]) -> Listing:
        """Of the organization that is named, else the one that was looked at last, else the only one there is."""
        staff, query = staff_of(request), request.GET
        name = query.get("organization")
        if name is None and len(organizations) == 1:
            name = organizations[0].name
        if name is None:
            name = request.session.get("organization", "")
            if name and not any(one.name == name for one in organizations):
                name = ""
        organization = staff.organization(name, Permission.IMAGES_READ) if name else None
        if organizations and request.session.get("organization", "") != name:
            request.session["organization"] = name
        return Listing(staff, organization, query)

    @error_page
    def preview(self, request: HttpRequest, pk: int, size: str) -> HttpResponseBase:
        """A picture made small, as WebP. What is protected is shown to those only who may download it."""
        image = self.get_queryset(request).select_related("file").filter(pk=pk).first()
        if image is None or size not in thumbnails.SIZES:
            return HttpResponse(status=404)
        if not can_view(staff_of(request), image):
            return HttpResponseRedirect(static("sourceimages/protected.svg"))
        made = thumbnails.preview(image.file, size, upright="stored" not in request.GET)
        if made is None:
            return HttpResponseRedirect(static("sourceimages/no-preview.svg"))
        answer = HttpResponse(made, content_type="image/webp")
        answer["Cache-Control"] = f"private, max-age={ONE_DAY}"
        answer["X-Content-Type-Options"] = "nosniff"
        answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return answer


def can_view(staff: StaffAccess, image: SourceImage) -> bool:
    needs = Permission.PROTECTED_ORIGINALS_DOWNLOAD if is_guarded(image) else Permission.IMAGES_READ
    return staff.has_permission(needs, image.organization_id)


def actions_for(staff: StaffAccess, listing: Listing) -> list[tuple[str, str, bool]]:
    """Name, label and whether it is destructive, of each bulk action that the user can run over this list."""
    if listing.organization is None:
        return []
    found = available_actions(staff.granted(listing.organization.pk), in_trash=listing.in_trash)
    return [(action.name, action.label, action.destructive) for action in found]
