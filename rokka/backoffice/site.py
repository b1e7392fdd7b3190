"""The back-office as a whole: who may come in, what leads where, and the page one starts at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from organizations.auth.login_form import LoginForm
from organizations.auth.staff import staff_of
from rokka.backoffice import dashboard

# What people come for, in this order; everything else is among the records.
NAVIGATION = (
    ("SourceImage", "Pictures", "picture"),
    ("Tombstone", "Trash", "trash"),
    ("Job", "Jobs", "job"),
    ("Organization", "Organizations", "organization"),
    ("User", "People", "person"),
    ("AuditEvent", "Audit trail", "history"),
)


@dataclass(frozen=True, slots=True)
class NavItem:
    """A link of the navigation; `icon` names a drawing in templates/admin/parts/icons.html."""

    label: str
    address: str
    icon: str
    active: bool


class RokkaAdminSite(AdminSite):
    site_header = site_title = "rokka"
    index_title = "Start"
    login_form = LoginForm
    enable_nav_sidebar = False

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        if context["has_permission"]:
            context |= {"navigation": list(self.navigation(request)), "staff": staff_of(request)}
        return context

    def navigation(self, request: HttpRequest) -> Iterator[NavItem]:
        dashboard, records = reverse("admin:index"), reverse("admin:records")
        yield NavItem("Start", dashboard, "start", request.path == dashboard)
        shown = {model.__name__: model for model, one in self._registry.items() if one.has_module_permission(request)}
        for name, label, icon in NAVIGATION:
            if model := shown.get(name):
                address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
                yield NavItem(label, address, icon, request.path.startswith(address))
        yield NavItem("Records", records, "record", request.path == records)

    def get_urls(self) -> list[Any]:
        own = [
            path("records/", self.admin_view(self.raw_tables), name="records"),
            path("numbers/", self.admin_view(self.statistics), name="numbers"),
            path("health/", self.admin_view(self.health), name="health"),
        ]
        return [*own, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """At once what is cheap; the page asks for the rest when it is there."""
        context = self.each_context(request) | {"title": "Start"} | dashboard.pending_items(staff_of(request))
        return TemplateResponse(request, "admin/dashboard.html", context)

    def statistics(self, request: HttpRequest) -> HttpResponse:
        return TemplateResponse(request, "admin/dashboard_statistics.html", dashboard.statistics(staff_of(request)))

    def health(self, request: HttpRequest) -> HttpResponse:
        """For superusers: others can do nothing about it."""
        checks = dashboard.checks() if staff_of(request).superuser else []
        return TemplateResponse(request, "admin/dashboard_health.html", {"checks": checks})

    def raw_tables(self, request: HttpRequest) -> HttpResponse:
        """Every table there is, as it is."""
        return super().index(request, {"title": "Records"})
