"""Base classes of the admin: its pages show rows, and change them only through operations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.contrib.auth import admin as auth_admin  # noqa: F401 (registers groups)
from django.contrib.auth.models import Group
from django.db import models
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

from organizations.audit import Actor
from organizations.auth.staff import actor_of, known_user, staff_of, visible_name
from organizations.permissions import Permission
from rokka.core.errors import DomainError, NotFound
from rokka.core.http import status_of

admin.site.unregister(Group)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows the rows that the user has permission to view. Nothing can be added, changed or deleted."""

    # Required to view a row, in the organization of the row. None: only superusers can view rows.
    permission: ClassVar[Permission | None] = None
    organization_field: ClassVar[str] = "organization"  # lookup from a row to its organization
    actions: Sequence[str] | None = None
    list_title: ClassVar[str] = ""  # by default the plural of the model
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each facet counts all rows
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        staff = staff_of(request)
        return staff.superuser or (self.permission is not None and staff.has_permission_anywhere(self.permission))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @property
    def list_label(self) -> str:
        """What the page with the list is called."""
        return self.list_title or str(capfirst(self.opts.verbose_name_plural))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, {"title": self.list_label} | (extra_context or {}))
        return response

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        response: HttpResponse = super().render_change_form(
            request, context | {"list_title": self.list_label}, *args, **kwargs
        )
        return response

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        """Exclude rows of organizations that the user has no access to, from lists and from pages by URL."""
        rows: models.QuerySet = super().get_queryset(request)
        staff = staff_of(request)
        if staff.superuser:
            return rows
        return (
            rows.filter(**{f"{self.organization_field}__in": staff.organization_ids_with(self.permission)})
            if self.permission
            else rows.none()
        )


class UserNameAdmin(ReadOnlyAdmin):
    """Names the user of each row with `user_name`, without the email of users who are unknown to the organization."""

    user_field: ClassVar[str] = "user"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        rows: models.QuerySet = super().get_queryset(request)
        named: models.QuerySet = rows.annotate(user_is_known=known_user(staff_of(request), self.user_field))
        return named

    @admin.display(description="User")
    def user_name(self, row: Any) -> str:
        return visible_name(getattr(row, self.user_field), row.user_is_known)


class ActionAdmin(ReadOnlyAdmin):
    """Adds actions that call an operation for each row, from its page or from the list, after a confirmation.

    `actions` names methods that are decorated with `row_action`.
    """

    change_form_template = "admin/row_actions.html"
    max_rows: ClassVar[int] = 500  # per request, which waits for one transaction per row
    over_limit_hint: ClassVar[str] = ""  # an alternative, in a sentence

    def object_actions(self, row: Any) -> Sequence[str]:
        """The actions offered on the page of this row."""
        return self.actions or ()

    def has_action_permission(self, request: HttpRequest, name: str, row: Any) -> bool:
        """Return whether the user has permission for the action on this row."""
        permission = getattr(type(self), name).permission
        return staff_of(request).has_permission(
            permission(row) if callable(permission) else permission, row.organization_id
        )

    def buttons(self, request: HttpRequest, row: Any) -> list[tuple[str, str, bool]]:
        """The actions that the user can start on the page of this row: name, label, and whether it is destructive."""
        actions: dict[str, Any] = self.get_actions(request)
        return [
            (name, actions[name][2], getattr(type(self), name).destructive)
            for name in self.object_actions(row)
            if self.has_action_permission(request, name, row)
        ]

    def row_label(self, row: Any) -> str:
        """The row as the confirmation page lists it."""
        return str(row)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        actions: dict[str, Any] = self.get_actions(request)
        for name, (action, *_) in actions.items():
            if f"_{name}" in request.POST:
                row = self.get_object(request, unquote(object_id))
                response: HttpResponse | None = action(self, request, [row] if row else [])
                return response or HttpResponseRedirect(request.get_full_path())
        return super().change_view(request, object_id, *args, **kwargs)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context["buttons"] = self.buttons(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def confirmation(
        self, request: HttpRequest, rows: list[Any], *, name: str, title: str, help_text: str, destructive: bool
    ) -> HttpResponse:
        """The confirmation page of an action, with its rows. Its form posts to the URL of the request."""
        count = f"{len(rows)} {model_ngettext(self.opts, len(rows))}"
        return Confirmation(
            title=title,
            help_text=help_text,
            rows=[
                (
                    reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(row.pk)]),
                    self.row_label(row),
                )
                for row in rows
            ],
            hidden=[
                ("action", name),  # for a list
                (f"_{name}", "yes"),  # for the page of one row
                *((ACTION_CHECKBOX_NAME, str(row.pk)) for row in rows),
            ],
            button=f"{title}: {count}" if len(rows) > 1 else title,
            cancel_url=request.get_full_path(),
            cancel_label=self.list_label,
            destructive=destructive,
        ).response(self, request)

    def run_action(self, request: HttpRequest, rows: list[Any], method: "RowAction", done: str) -> None:
        """Call the method for each row. An error of one row becomes a message and doesn't stop the others."""
        actor = actor_of(request)
        missing = len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(rows)
        if missing > 0:
            text = f"{missing} {model_ngettext(self.opts, missing)} no longer exist."
            self.message_user(request, text, messages.ERROR)
        count = 0
        for row in rows:
            if not self.has_action_permission(request, method.__name__, row):
                text = f"You don't have permission in {row.organization} for: {self.row_label(row)}."
                self.message_user(request, text, messages.ERROR)
                continue
            try:
                message = method(self, row, actor)
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
                continue
            count += 1
            if message:
                self.message_user(request, message, messages.SUCCESS)
        if count and done:
            self.message_user(request, f"{count} {model_ngettext(self.opts, count)} {done}.", messages.SUCCESS)


View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def error_page(view: View) -> View:
    """Decorate a view: a DomainError becomes an error page with the status that the API returns."""

    @wraps(view)
    def wrapped(self: admin.ModelAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(self, request, *args, **kwargs)
        except DomainError as error:
            return error_response(self, request, error)

    return cast(View, wrapped)


def error_response(
    model_admin: admin.ModelAdmin, request: HttpRequest, error: DomainError, *, back_url: str = ""
) -> HttpResponse:
    """The error page, with the message and the status of the error, and a link to the dashboard or to `back_url`."""
    title = "Not found" if isinstance(error, NotFound) else "Action failed"
    context = model_admin.admin_site.each_context(request)
    context |= {"title": title, "message": error.message, "back_url": back_url}
    return TemplateResponse(request, "admin/error.html", context, status=int(status_of(error)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """The confirmation page of an action, for rows or for images."""

    title: str
    help_text: str
    hidden: Sequence[tuple[str, str]]  # name and value of the hidden fields
    button: str
    cancel_url: str
    cancel_label: str  # text of the breadcrumb
    summary: Sequence[tuple[str, str]] = ()  # label and text
    form: Form | None = None  # the parameters of the action
    error: str = ""  # of the submitted form
    rows: Sequence[tuple[str, str]] = ()  # URL and label
    images: Sequence[Any] = ()  # shown as thumbnails
    more: int = 0  # number of images without a thumbnail
    destructive: bool = False
    enabled: bool = True
    alternative: tuple[str, str] | None = None  # name and label of a second button, for a part of the action

    def response(self, model_admin: admin.ModelAdmin, request: HttpRequest) -> TemplateResponse:
        """Render the page, with status 400 if there is an error."""
        context = model_admin.admin_site.each_context(request) | {"title": self.title, "confirmation": self}
        return TemplateResponse(request, "admin/confirmation.html", context, status=400 if self.error else 200)


RowAction = Callable[[Any, Any, Actor], str | None]
AdminAction = Callable[[ActionAdmin, HttpRequest, Any], HttpResponse | None]


PermissionSpec = Permission | Callable[[Any], Permission]


def row_action(
    description: str, *, permission: PermissionSpec, help_text: str, done: str = "", destructive: bool = False
) -> Callable[[RowAction], AdminAction]:
    """Turn a method that calls an operation for one row into an admin action that asks for confirmation first.

    The method can return a message. `permission`, or what it returns for the row, is required in the organization of
    the row. `done` is the verb of the final message, such as "cancelled" in "2 jobs cancelled."
    """

    def decorator(method: RowAction) -> AdminAction:
        @admin.action(description=description, permissions=["view"])
        @wraps(method)
        def action(self: ActionAdmin, request: HttpRequest, rows: Any) -> HttpResponse | None:
            rows = list(rows[: self.max_rows + 1])
            if len(rows) > self.max_rows:
                message = f"Select at most {self.max_rows} {self.opts.verbose_name_plural}. {self.over_limit_hint}"
                self.message_user(request, message.strip(), messages.ERROR)
            elif "confirmed" in request.POST:
                self.run_action(request, rows, method, done)
            elif rows:
                return self.confirmation(
                    request,
                    rows,
                    name=method.__name__,
                    title=description,
                    help_text=help_text,
                    destructive=destructive,
                )
            return None

        action.permission = permission  # type: ignore[attr-defined]
        action.destructive = destructive  # type: ignore[attr-defined]
        return action

    return decorator
