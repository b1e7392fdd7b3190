"""People: the keys that act for them, and whether they may act at all."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from organizations.admin.base import ReadOnlyAdmin, error_page
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
    """Superusers see everybody, others themselves."""

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
        return super().changelist_view(request, {"may_add": staff_of(request).superuser} | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user: User | None = self.get_object(request, object_id)
        if user is None:
            raise UserNotFound("There is no such person.")
        may_switch = staff_of(request).superuser and user != request.user
        shown, problem, public = None, "", not staff_of(request).superuser and is_public(user)
        if request.method == "POST":
            if public:
                raise PublicUser("Your keys are meant to be public, by one of your roles: no others can be made.")
            if request.POST.get("do") in ACTIVE and not may_switch:
                raise Forbidden("Superusers only do that, and not to themselves.")
            try:
                shown = self._change(request, user)
                if shown is None:
                    return HttpResponseRedirect(request.path)
            except DomainError as error:
                problem = error.message
            user.refresh_from_db()
        context = self.admin_site.each_context(request) | {
            "title": str(user),
            "person": user,
            "keys": list(user.api_keys.order_by("created", "id")),
            "most": ApiKey.MAX_KEYS,
            "memberships": list(user.memberships.select_related("organization").order_by("organization__name")),
            "may_switch": may_switch,
            "may_change_keys": not public,
            "shown": shown,
            "problem": problem,
        }
        answer = TemplateResponse(request, "admin/organizations/user.html", context, status=400 if problem else 200)
        if shown:
            answer["Cache-Control"] = "no-store"
        return answer

    def _change(self, request: HttpRequest, user: User) -> OneTimeSecret | None:
        sent, actor = request.POST, actor_of(request)
        match sent.get("do"):
            case "activate" | "deactivate" as do:
                set_active(user, ACTIVE[do], actor=actor)
                messages.success(request, f"{user} may {'act again' if ACTIVE[do] else 'not act any more'}.")
            case "key":
                _, key = create_key(user, comment=str(sent.get("comment", "")), actor=actor)
                return OneTimeSecret(key, f"The new key of {user}. It is shown once.")
            case "no-key":
                delete_key(user, str(sent.get("key", "")), actor=actor)
                messages.success(request, "The key is out of use, and every token that was made with it.")
            case _:
                raise InvalidInput("There is no such change.")
        return None

    @error_page
    def add_staff(self, request: HttpRequest) -> HttpResponseBase:
        """Somebody for the back-office, who sees nothing before an organization has them as a member."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers may do that.")
        problem, sent = "", request.POST
        if request.method == "POST":
            username, email, password = (str(sent.get(name, "")) for name in ("username", "email", "password"))
            try:
                made = create_staff(username.strip(), password, email=email.strip(), actor=actor_of(request))
                messages.success(request, f"{made.username} can log in. Make them a member of an organization next.")
                return HttpResponseRedirect(reverse("admin:organizations_user_change", args=[made.pk]))
            except DomainError as error:
                problem = error.message
        context = self.admin_site.each_context(request)
        context |= {"title": "Somebody new for the back-office", "problem": problem, "sent": sent}
        return TemplateResponse(request, "admin/organizations/add_staff.html", context, status=400 if problem else 200)
