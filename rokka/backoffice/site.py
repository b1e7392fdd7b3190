"""The admin site: login, navigation and the dashboard."""

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

# The main models, in this order. All other models are under "Raw tables".
NAVIGATION = (
    ("SourceImage", "Images", "image"),
    ("Tombstone", "Trash", "trash"),
    ("Job", "Jobs", "job"),
    ("Organization", "Organizations", "organization"),
    ("User", "Users", "user"),
    ("AuditEvent", "Audit log", "history"),
)


@dataclass(frozen=True, slots=True)
class NavItem:
    """A link of the navigation; `icon` is a symbol of templates/admin/includes/icons.html."""

    label: str
    url: str
    icon: str
    active: bool


class RokkaAdminSite(AdminSite):
    site_header = site_title = "rokka"
    index_title = "Dashboard"
    login_form = LoginForm
    enable_nav_sidebar = False

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        if context["has_permission"]:
            context |= {"navigation": list(self.navigation(request)), "staff": staff_of(request)}
        return context

    def navigation(self, request: HttpRequest) -> Iterator[NavItem]:
        dashboard, raw_tables = reverse("admin:index"), reverse("admin:raw_tables")
        yield NavItem("Dashboard", dashboard, "dashboard", request.path == dashboard)
        models = {
            model.__name__: model
            for model, model_admin in self._registry.items()
            if model_admin.has_module_permission(request)
        }
        for name, label, icon in NAVIGATION:
            if model := models.get(name):
                url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
                yield NavItem(label, url, icon, request.path.startswith(url))
        yield NavItem("Raw tables", raw_tables, "table", request.path == raw_tables)

    def get_urls(self) -> list[Any]:
        own = [
            path("raw-tables/", self.admin_view(self.raw_tables), name="raw_tables"),
            path("statistics/", self.admin_view(self.statistics), name="statistics"),
            path("health/", self.admin_view(self.health), name="health"),
        ]
        return [*own, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard without statistics and health checks, which the page loads afterwards."""
        context = self.each_context(request) | {"title": "Dashboard"} | dashboard.pending_items(staff_of(request))
        return TemplateResponse(request, "admin/dashboard.html", context)

    def statistics(self, request: HttpRequest) -> HttpResponse:
        return TemplateResponse(request, "admin/dashboard_statistics.html", dashboard.statistics(staff_of(request)))

    def health(self, request: HttpRequest) -> HttpResponse:
        """Health checks, for superusers only."""
        checks = dashboard.checks() if staff_of(request).superuser else []
        return TemplateResponse(request, "admin/dashboard_health.html", {"checks": checks})

    def raw_tables(self, request: HttpRequest) -> HttpResponse:
        """Django's index of all models."""
        return super().index(request, {"title": "Raw tables"})
