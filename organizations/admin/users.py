"""Users in the admin: their API keys, activation, and adding staff users."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from organizations.admin.base import Confirmation, ReadOnlyAdmin, error_page
from organizations.admin.forms import AddStaffForm, CreateKeyForm, KeyOptionsForm, check, cleaned_data
from organizations.admin.organization_tabs import OneTimeSecret
from organizations.auth.consent import is_public
from organizations.auth.staff import actor_of, staff_of
from organizations.errors import KeyNotFound, PublicUser, UserNotFound, WouldLockOut
from organizations.models import ApiKey, SecondFactor, User
from organizations.operations import create_key, create_staff, origins_of, remove_totp, set_active, update_key
from organizations.operations.users import LEGACY_KEY
from rokka.core.errors import DomainError, Forbidden, InvalidInput

ACTIVE = {"activate": True, "deactivate": False}
PUBLIC_USER = "One of your roles makes your API keys public, so you can't create, change or revoke keys."
FOR_SUPERUSERS = {*ACTIVE, "remove_second_factor"}  # for other users only


class AccessFilter(admin.SimpleListFilter):
    title, parameter_name = "access", "access"
    CHOICES: ClassVar[dict[str, dict[str, bool]]] = {
        "superuser": {"is_active": True, "is_superuser": True},
        "admin": {"is_active": True, "is_superuser": False, "is_staff": True},
        "API only": {"is_active": True, "is_superuser": False, "is_staff": False},
        "disabled": {"is_active": False},
    }

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, f"{name[0].upper()}{name[1:]}") for name in self.CHOICES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(**self.CHOICES.get(self.value() or "", {}))


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """Superusers see all users, other staff only themselves."""

    list_display = ("__str__", "email", "username", "access", "created")
    list_filter = (AccessFilter,)
    search_fields = ("email", "username")
    ordering = ("-created",)
    change_list_template = "admin/organizations/users.html"

    @admin.display
    def access(self, user: User) -> str:
        return format_html('<span class="label {}">{}</span>', *access_label(user))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        if staff_of(request).superuser:
            return User.objects.all()
        return User.objects.filter(pk=staff_of(request).user.pk)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("add/", view(self.add_staff), name="organizations_user_add"),
            path("<str:user_id>/keys/<str:key_id>/", view(self.key_view), name="organizations_user_key"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"can_add": staff_of(request).superuser} | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = self._user(request, object_id)
        can_deactivate = staff_of(request).superuser and user != request.user
        secret, problem, public = None, "", self._is_public(request, user)
        options_form = KeyOptionsForm()
        if request.method == "POST":
            if public:
                raise PublicUser(PUBLIC_USER)
            if request.POST.get("action") in FOR_SUPERUSERS and not can_deactivate:
                raise Forbidden("Only superusers can do this, and not for themselves.")
            try:
                secret = self._run_action(request, user)
                if secret is None:
                    return HttpResponseRedirect(request.path)
            except DomainError as error:
                problem = error.message
                options_form = (
                    KeyOptionsForm(request.POST) if request.POST.get("action") == "create_key" else options_form
                )
            user.refresh_from_db()
        origins = origins_of(user)
        context = self.admin_site.each_context(request) | {
            "title": str(user),
            "viewed_user": user,  # `user` is the logged-in user
            "access": access_label(user),
            "keys": [(key, origins.get(key.pk)) for key in user.api_keys.order_by("created", "id")],
            "max_keys": ApiKey.MAX_KEYS,
            "options_form": options_form,
            "comment": request.POST.get("comment", "") if problem else "",
            "memberships": list(user.memberships.select_related("organization").order_by("organization__name")),
            "can_deactivate": can_deactivate,
            "can_change_keys": not public,
            "second_factor": SecondFactor.objects.filter(user=user).first(),
            "can_remove_second_factor": can_deactivate,
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
            case "remove_second_factor":
                remove_totp(user, actor=actor)
                messages.success(request, f"{user} has no second factor. Their API keys no longer require a code.")
            case "create_key":
                form = CreateKeyForm(request.POST)
                check(form)
                comment = form.cleaned_data["comment"]
                _, key = create_key(user, comment=comment, options=form.key_options(), actor=actor)
                return OneTimeSecret(key, f"New API key of {user}. It is shown only once.")
            case _:
                raise InvalidInput("Invalid request: unknown action. Reload the page and try again.")
        return None

    @error_page
    def key_view(self, request: HttpRequest, user_id: str, key_id: str) -> HttpResponseBase:
        """The restrictions of an API key, which a form changes; after a confirmation if clients could be locked out."""
        user = self._user(request, user_id)
        key = next((key for key in user.api_keys.all() if str(key.pk) == key_id), None)
        if key is None:
            raise KeyNotFound("API key not found.")
        if self._is_public(request, user):
            raise PublicUser(PUBLIC_USER)
        form, problem = KeyOptionsForm(key=key), ""
        if request.method == "POST":
            form = KeyOptionsForm(request.POST, key=key)
            try:
                check(form)
                force = "confirmed" in request.POST
                update_key(user, key_id, form.changes(), force=force, actor=actor_of(request))
                messages.success(request, f"Restrictions of {key} saved. They also apply to its tokens.")
                return HttpResponseRedirect(reverse("admin:organizations_user_change", args=[user.pk]))
            except WouldLockOut as error:
                return Confirmation(
                    title="Change restrictions",
                    help_text="The change applies immediately, also to tokens of the key.",
                    summary=[_labeled(form, problem) for problem in error.details["problems"]],
                    hidden=[(name, value) for name in form.fields for value in request.POST.getlist(name)],
                    button="Change restrictions",
                    cancel_url=request.path,
                    cancel_label=f'API key "{key}"',
                    destructive=True,
                ).response(self, request)
            except DomainError as error:
                problem = error.message
        context = self.admin_site.each_context(request) | {
            "title": f'API key "{key}"',
            "viewed_user": user,
            "key": key,
            "legacy": LEGACY_KEY if key.is_legacy else "",
            "form": form,
            "problem": problem,
        }
        return TemplateResponse(request, "admin/organizations/api_key.html", context, status=400 if problem else 200)

    def _user(self, request: HttpRequest, user_id: str) -> User:
        """The user, if the staff user may see it. Raises UserNotFound."""
        user: User | None = self.get_object(request, user_id)
        if user is None:
            raise UserNotFound("User not found.")
        return user

    @staticmethod
    def _is_public(request: HttpRequest, user: User) -> bool:
        """Whether the API keys of the user are public, and the staff user is not a superuser, who can change them."""
        return not staff_of(request).superuser and is_public(user)

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


def _labeled(form: Form, problem: str) -> tuple[str, str]:
    """The label of the option that the problem begins with, and the rest of the problem as a sentence."""
    name, _, text = problem.partition(": ")
    return str(form.fields[name].label), f"{text[0].upper()}{text[1:]}"


def access_label(user: User) -> tuple[str, str]:
    """What the user can log in to: the class of the label, and its text."""
    if not user.is_active:
        return "failed", "disabled"
    if user.is_superuser:
        return "protected", "superuser"
    return "", "admin" if user.is_staff else "API only"
