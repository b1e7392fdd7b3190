"""Organizations in the admin: the list, the tabs of each, and creating one."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.admin.forms import CreateOrganizationForm, cleaned_data
from organizations.admin.organization_tabs import TABS, OneTimeSecret
from organizations.auth.staff import actor_of, staff_of
from organizations.errors import OrganizationNotFound
from organizations.models import Membership, Organization, UsageCounter
from organizations.operations import create_organization_with_admin, recent_admin_changes
from organizations.permissions import Permission
from rokka.core.errors import DomainError, Forbidden, InvalidInput


@admin.register(Organization)
class OrganizationAdmin(ReadOnlyAdmin):
    permission = Permission.ORGANIZATION_READ_BASIC
    organization_field = "pk"
    list_display = ("name", "display_name", "image_count", "storage_used", "member_count", "created")
    search_fields = ("name", "display_name")
    ordering = ("name",)
    change_list_template = "admin/organizations/list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        def total(model: Any, aggregate: Any) -> Coalesce:
            rows = model.objects.filter(organization=OuterRef("pk")).order_by().values("organization")
            return Coalesce(Subquery(rows.annotate(total=aggregate).values("total"), output_field=IntegerField()), 0)

        organizations: QuerySet = super().get_queryset(request)
        organizations = organizations.annotate(
            total_images=total(UsageCounter, Sum("images")),
            total_bytes=total(UsageCounter, Sum("bytes")),
            total_members=total(Membership, Count("pk")),
        )
        return organizations

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [path("add/", view(self.create_view), name="organizations_organization_add")]
        own += [path("<uuid:key>/<str:tab>/", view(self.tab), name="organizations_tab")]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        can_create = {"can_create": staff_of(request).superuser}
        return super().changelist_view(request, can_create | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the first tab that the user has permission to view."""
        organization = self.get_object(request, object_id)
        if organization is None:
            raise OrganizationNotFound(object_id[:80])
        granted = staff_of(request).granted(organization.pk)
        for name, tab in TABS.items():
            if tab.permission in granted:
                return HttpResponseRedirect(reverse("admin:organizations_tab", args=[organization.pk, name]))
        raise Forbidden(f"Your roles in {organization.name!r} don't include permission to view any of its pages.")

    @error_page
    def tab(self, request: HttpRequest, key: UUID, tab: str) -> HttpResponseBase:
        if tab == "change":
            return self.change_view(request, str(key))
        staff = staff_of(request)
        organization = Organization.objects.filter(pk=key).first()
        if organization is None or not staff.granted(organization.pk) or tab not in TABS:
            raise OrganizationNotFound(str(key))
        this = TABS[tab]
        staff.check(organization, this.permission)
        staff.enter(organization)
        secret, problem = None, ""
        if request.method == "POST":
            staff.check(organization, this.change_permission)
            action = this.actions.get(str(request.POST.get("action", "")))
            if action is None:
                raise InvalidInput("Invalid request: unknown action. Reload the page and try again.")
            try:
                secret = action.handler(request, organization, cleaned_data(action.form, request.POST))
                if secret is None:
                    return HttpResponseRedirect(request.path)
            except DomainError as error:
                problem = error.message
        organization.refresh_from_db()
        context = self.admin_site.each_context(request) | this.context(request, organization)
        context |= {
            "title": organization.display_name,
            "organization": organization,
            "tab": tab,
            "tabs": [
                (name, other.label)
                for name, other in TABS.items()
                if staff.has_permission(other.permission, organization)
            ],
            "admin_changes": recent_admin_changes(staff, organization),
            "can_change": staff.has_permission(this.change_permission, organization),
            "can_view_images": staff.has_permission(Permission.IMAGES_READ, organization),
            "secret": secret,
            "problem": problem,
            "submitted": request.POST if problem else {},
        }
        response = TemplateResponse(request, f"admin/organizations/{tab}.html", context, status=400 if problem else 200)
        if secret:
            response["Cache-Control"] = "no-store"
        return response

    @error_page
    def create_view(self, request: HttpRequest) -> HttpResponseBase:
        """Create an organization with its first admin, whose API key is shown once."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers can create organizations in the admin.")
        secret, problem = None, ""
        if request.method == "POST":
            try:
                data = cleaned_data(CreateOrganizationForm, request.POST)
                created = create_organization_with_admin(data["name"], email=data["email"], actor=actor_of(request))
                about = f"API key of {data['email']}, admin of {data['name']}. It is shown only once."
                secret = OneTimeSecret(created.api_key, about)
            except DomainError as error:
                problem = error.message
        context = self.admin_site.each_context(request) | {
            "title": "New organization",
            "secret": secret,
            "problem": problem,
            "submitted": request.POST if problem else {},
        }
        response = TemplateResponse(request, "admin/organizations/add.html", context, status=400 if problem else 200)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="Images", ordering="total_images")
    def image_count(self, organization: Any) -> str:
        return f"{organization.total_images:,}"

    @admin.display(description="Storage used", ordering="total_bytes")
    def storage_used(self, organization: Any) -> str:
        return filesizeformat(organization.total_bytes)

    @admin.display(description="Members", ordering="total_members")
    def member_count(self, organization: Any) -> int:
        return int(organization.total_members)
