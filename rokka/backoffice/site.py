"""The admin site: login, navigation and the dashboard."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from organizations.auth.staff import staff_of
from organizations.auth.staff_login import Step, is_complete
from organizations.models import User
from rokka.backoffice import dashboard
from rokka.backoffice.login import CodeView, PasswordView, SecondFactorView

# The main models, in this order. All other models are under "Raw tables".
NAVIGATION = (
    ("SourceImage", "Images", "image"),
    ("Tombstone", "Trash", "trash"),
    ("Job", "Jobs", "job"),
    ("Stack", "Stacks", "stack"),
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
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the session is that of a staff user, and has passed the second factor, if there has to be one."""
        return bool(super().has_permission(request) and is_complete(request))

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The login with a password. Django's, with steps after it (organizations/auth/staff_login.py)."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return PasswordView.as_view(**self.login_options(request, "Log in"))(request)  # type: ignore[return-value]

    def login_code(self, request: HttpRequest) -> HttpResponseBase:
        return CodeView.as_view(**self.login_options(request, "Enter a code"))(request)

    def login_options(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """Options of a view of the login."""
        return {
            "template_name": "admin/login.html",
            "next_page": "admin:index",
            "extra_context": self.each_context(request) | {"title": title},
        }

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        if context["has_permission"]:
            context |= {
                "navigation": list(self.navigation(request)),
                "raw_table": self.is_raw_table(request.path),
                "staff": staff_of(request),
            }
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
        yield NavItem("Raw tables", raw_tables, "table", request.path == raw_tables or self.is_raw_table(request.path))

    def is_raw_table(self, path: str) -> bool:
        """Return whether the path is that of a model, or of a row, that the navigation has no link of its own for."""
        main = {name for name, *_ in NAVIGATION}
        return any(
            path.startswith(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
            for model in self._registry
            if model.__name__ not in main
        )

    def get_urls(self) -> list[Any]:
        own = [
            path("login/code/", self.login_code, name=Step.CODE),
            path("second-factor/", SecondFactorView.as_view(site=self), name=Step.SET_UP),
            path("raw-tables/", self.admin_view(self.raw_tables), name="raw_tables"),
            path("statistics/", self.admin_view(self.statistics), name="statistics"),
            path("health/", self.admin_view(self.health), name="health"),
            path(
                "organizations/user/<uuid:user_id>/keys/<uuid:key_id>/revoke/",
                self.admin_view(self.api_key),
                name="api_key",
            ),
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

    def api_key(self, request: HttpRequest, user_id: UUID, key_id: UUID) -> HttpResponse:
        """Revoke an API key, and undo what was made with it."""
        from rokka.backoffice.key_view import key_view  # which imports admin pages, and they this site

        return key_view(self._registry[User], request, user_id, key_id)

    def catch_all_view(self, request: HttpRequest, url: str) -> HttpResponse:
        """A page for addresses that don't exist, where Django would leave them to the API, which returns JSON."""
        try:
            response: HttpResponse = super().catch_all_view(request, url)
        except Http404:
            context = self.each_context(request) | {"title": "Page not found", "message": "This page doesn't exist."}
            return TemplateResponse(request, "admin/error.html", context, status=404)
        return response

    def raw_tables(self, request: HttpRequest) -> HttpResponse:
        """Django's index of all models."""
        return super().index(request, {"title": "Raw tables"})
