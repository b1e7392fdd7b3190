"""Users in the admin: their API keys, activation, and adding staff users."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.admin.forms import AddStaffForm, CreateKeyForm, KeyForm, cleaned_data
from organizations.admin.organization_tabs import OneTimeSecret
from organizations.auth.consent import is_public
from organizations.auth.staff import actor_of, staff_of
from organizations.errors import PublicUser, UserNotFound
from organizations.models import ApiKey, User
from organizations.operations import create_key, create_staff, delete_key, set_active
from rokka.core.errors import DomainError, Forbidden, InvalidInput

ACTIVE = {"activate": True, "deactivate": False}


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """Superusers see all users, other staff only themselves."""

    list_display = ("__str__", "email", "username", "is_staff", "is_active", "created")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "username")
    ordering = ("-created",)
    change_list_template = "admin/organizations/users.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        if staff_of(request).superuser:
            return User.objects.all()
        return User.objects.filter(pk=staff_of(request).user.pk)

    def get_urls(self) -> list[Any]:
        own = [path("add/", self.admin_site.admin_view(self.add_staff), name="organizations_user_add")]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"can_add": staff_of(request).superuser} | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user: User | None = self.get_object(request, object_id)
        if user is None:
            raise UserNotFound("User not found.")
        superuser = staff_of(request).superuser
        can_deactivate = superuser and user != request.user
        secret, problem, public = None, "", not superuser and is_public(user)
        if request.method == "POST":
            if public:
                raise PublicUser("One of your roles makes your API keys public, so you can't create or revoke keys.")
            if request.POST.get("action") in ACTIVE and not can_deactivate:
                raise Forbidden("Only superusers can activate or deactivate users, and not themselves.")
            try:
                secret = self._run_action(request, user)
                if secret is None:
                    return HttpResponseRedirect(request.path)
            except DomainError as error:
                problem = error.message
            user.refresh_from_db()
        context = self.admin_site.each_context(request) | {
            "title": str(user),
            "viewed_user": user,  # `user` is the logged-in user
            "keys": list(user.api_keys.order_by("created", "id")),
            "max_keys": ApiKey.MAX_KEYS,
            "memberships": list(user.memberships.select_related("organization").order_by("organization__name")),
            "can_deactivate": can_deactivate,
            "can_change_keys": not public,
            "secret": secret,
            "problem": problem,
        }
        response = TemplateResponse(request, "admin/organizations/user.html", context, status=400 if problem else 200)
        if secret:
            response["Cache-Control"] = "no-store"
        return response

    def _run_action(self, request: HttpRequest, user: User) -> OneTimeSecret | None:
        actor = actor_of(request)
        match request.POST.get("action"):
            case "activate" | "deactivate" as action:
                set_active(user, ACTIVE[action], actor=actor)
                messages.success(request, f"{user} was {action}d.")
            case "create_key":
                data = cleaned_data(CreateKeyForm, request.POST)
                _, key = create_key(user, comment=data["comment"], actor=actor)
                return OneTimeSecret(key, f"New API key of {user}. It is shown only once.")
            case "revoke_key":
                delete_key(user, cleaned_data(KeyForm, request.POST)["key"], actor=actor)
                messages.success(request, "API key revoked. Tokens created with it no longer work.")
            case _:
                raise InvalidInput("Invalid request: unknown action. Reload the page and try again.")
        return None

    @error_page
    def add_staff(self, request: HttpRequest) -> HttpResponseBase:
        """Add a staff user, who has no permissions until an organization adds them as a member."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers can add staff users.")
        problem = ""
        if request.method == "POST":
            try:
                data = cleaned_data(AddStaffForm, request.POST)
                user = create_staff(data["username"], data["password"], email=data["email"], actor=actor_of(request))
                messages.success(request, f"{user.username} can log in. Next, add them as a member of an organization.")
                return HttpResponseRedirect(reverse("admin:organizations_user_change", args=[user.pk]))
            except DomainError as error:
                problem = error.message
        context = self.admin_site.each_context(request)
        context |= {"title": "Add staff user", "problem": problem, "submitted": request.POST}
        return TemplateResponse(request, "admin/organizations/add_staff.html", context, status=400 if problem else 200)
