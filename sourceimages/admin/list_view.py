"""The list of images, as a grid or a table, and the counts of its filters."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.auth.staff import StaffAccess, staff_of
from organizations.models import Organization
from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from rokka.core.http import status_of
from rokka.core.time_limits import TimeLimitExceeded
from sourceimages.admin.bulk_actions import available_actions
from sourceimages.admin.list_filters import VIEWS, Listing, Page
from sourceimages.downloads.access import is_guarded
from sourceimages.errors import IndexNotReady, TooManySearches
from sourceimages.models import SourceImage

ORGANIZATION_CHOICES_LIMIT = 500  # in the filter; the list of organizations has all of them


class ListMixin(ReadOnlyAdmin):
    """The list of images, and its filter counts."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [path("counts/", view(self.facet_counts), name="sourceimages_counts")]
        return [*own, *super().get_urls()]

    @error_page
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        staff = staff_of(request)
        staff.check_anywhere(Permission.IMAGES_READ)
        organizations = list(staff.organizations(Permission.IMAGES_READ).order_by("name")[:ORGANIZATION_CHOICES_LIMIT])
        listing = self.get_listing(request, organizations)
        problem, notice, status = "", "", HTTPStatus.OK
        try:
            listing.check()
            with listing.running():
                page, total, notice = listing.page(), listing.total(), listing.notice
        except (InvalidInput, IndexNotReady, TooManySearches, TimeLimitExceeded) as error:
            # keep the search text in the form, next to the error
            problem, status = error.message, status_of(error)
            page, total, listing = Page([], "", "", ""), "0", listing.without_invalid_filters()
        view = listing.get("view") if listing.get("view") in VIEWS else request.session.get("view", VIEWS[0])
        if request.session.get("view") != view:
            request.session["view"] = view
        context = self.admin_site.each_context(request) | {
            "title": "Images",
            "listing": listing,
            "organizations": organizations,
            "page": page,
            "total": total,
            "problem": problem,
            "notice": notice,
            "view": view,
            "views": [(name, listing.url(view=name)) for name in VIEWS],
            "actions": actions_for(staff, listing),
            "can_upload": listing.organization and staff.has_permission(Permission.IMAGES_UPLOAD, listing.organization),
        }
        return TemplateResponse(request, "admin/sourceimages/list.html", context, status=status)

    @error_page
    def facet_counts(self, request: HttpRequest) -> HttpResponseBase:
        """Return the number of images per filter value of the same list, as JSON; null and {} for all organizations."""
        listing = self.get_listing(request, [])
        return JsonResponse(listing.facet_counts() if listing.organization else {"total": None, "filters": {}})

    def get_listing(self, request: HttpRequest, organizations: list[Organization]) -> Listing:
        """Return the list of the requested organization; by default the only one, or the one viewed last."""
        staff, query = staff_of(request), request.GET
        name = query.get("organization")
        if name is None and len(organizations) == 1:
            name = organizations[0].name
        if name is None:
            name = request.session.get("organization", "")
            if name and not any(organization.name == name for organization in organizations):
                name = ""
        organization = staff.organization(name, Permission.IMAGES_READ) if name else None
        if organizations and request.session.get("organization", "") != name:
            request.session["organization"] = name
        return Listing(staff, organization, query)


def can_view(staff: StaffAccess, image: SourceImage) -> bool:
    permission = Permission.PROTECTED_ORIGINALS_DOWNLOAD if is_guarded(image) else Permission.IMAGES_READ
    return staff.has_permission(permission, image.organization_id)


def actions_for(staff: StaffAccess, listing: Listing) -> list[tuple[str, str, bool]]:
    """Name, label and whether it is destructive, of each bulk action that the user can run over this list."""
    if listing.organization is None:
        return []
    found = available_actions(staff.granted(listing.organization.pk), in_trash=listing.in_trash)
    return [(action.name, action.label, action.destructive) for action in found]
