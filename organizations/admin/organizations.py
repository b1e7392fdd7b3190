"""Organizations: a list of them, and the pages of each."""

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
from organizations.admin.organization_tabs import TABS, OneTimeSecret
from organizations.auth.staff import actor_of, staff_of
from organizations.errors import OrganizationNotFound
from organizations.models import Membership, Organization, UsageCounter
from organizations.operations import create_organization_with_admin
from organizations.permissions import Permission
from rokka.core.errors import DomainError, Forbidden, InvalidInput


@admin.register(Organization)
class OrganizationAdmin(ReadOnlyAdmin):
    permission = Permission.ORGANIZATION_READ_BASIC
    organization_field = "pk"
    list_display = ("name", "display_name", "pictures", "size", "members", "created")
    search_fields = ("name", "display_name")
    ordering = ("name",)
    change_list_template = "admin/organizations/list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        def of(model: Any, total: Any) -> Coalesce:
            rows = model.objects.filter(organization=OuterRef("pk")).order_by().values("organization")
            return Coalesce(Subquery(rows.annotate(total=total).values("total"), output_field=IntegerField()), 0)

        found: QuerySet = super().get_queryset(request)
        numbers = {"pictures": of(UsageCounter, Sum("images")), "bytes": of(UsageCounter, Sum("bytes"))}
        found = found.annotate(**numbers, people=of(Membership, Count("pk")))
        return found

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [path("add/", view(self.create_view), name="organizations_organization_add")]
        own += [path("<uuid:key>/<str:tab>/", view(self.tab), name="organizations_tab")]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_found = {"may_found": staff_of(request).superuser}
        return super().changelist_view(request, may_found | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The first page that this person may see."""
        organization = self.get_object(request, object_id)
        if organization is None:
            raise OrganizationNotFound(object_id[:80])
        granted = staff_of(request).granted(organization.pk)
        for name, tab in TABS.items():
            if tab.permission in granted:
                return HttpResponseRedirect(reverse("admin:organizations_tab", args=[organization.pk, name]))
        raise Forbidden(f"Your roles in {organization.name!r} do not let you see anything about it.")

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
        shown, problem = None, ""
        if request.method == "POST":
            do = str(request.POST.get("do", ""))
            staff.check(organization, this.change_permission)
            if do not in this.changes:
                raise InvalidInput("There is no such change.")
            try:
                shown = this.changes[do](request, organization)
                if shown is None:
                    return HttpResponseRedirect(request.path)
            except DomainError as error:
                problem = error.message
        organization.refresh_from_db()
        context = self.admin_site.each_context(request) | this.about(request, organization)
        context |= {
            "title": organization.display_name,
            "organization": organization,
            "tab": tab,
            "tabs": [
                (name, one.label) for name, one in TABS.items() if staff.has_permission(one.permission, organization)
            ],
            "may_change": staff.has_permission(this.change_permission, organization),
            "may_see_pictures": staff.has_permission(Permission.IMAGES_READ, organization),
            "shown": shown,
            "problem": problem,
            "sent": request.POST if problem else {},
        }
        answer = TemplateResponse(request, f"admin/organizations/{tab}.html", context, status=400 if problem else 200)
        if shown:
            answer["Cache-Control"] = "no-store"
        return answer

    @error_page
    def create_view(self, request: HttpRequest) -> HttpResponseBase:
        """A new organization with its first admin, whose key is shown once."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers found organizations here.")
        shown, problem, sent = None, "", request.POST
        if request.method == "POST":
            name, email = str(sent.get("name", "")).strip(), str(sent.get("email", "")).strip()
            try:
                made = create_organization_with_admin(name, email=email, actor=actor_of(request))
                shown = OneTimeSecret(made.api_key, f"The key of {email}, admin of {name}. It is shown once.")
            except DomainError as error:
                problem = error.message
        context = self.admin_site.each_context(request)
        context |= {"title": "New organization", "shown": shown, "problem": problem, "sent": sent}
        answer = TemplateResponse(request, "admin/organizations/add.html", context, status=400 if problem else 200)
        answer["Cache-Control"] = "no-store"
        return answer

    @admin.display(ordering="pictures")
    def pictures(self, organization: Any) -> str:
        return f"{organization.pictures:,}"

    @admin.display(ordering="bytes")
    def size(self, organization: Any) -> str:
        return filesizeformat(organization.bytes)

    @admin.display(ordering="people")
    def members(self, organization: Any) -> int:
        return int(organization.people)
