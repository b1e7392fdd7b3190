"""What the pages of the admin have in common: they show rows and change them through operations only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.contrib.auth.models import Group
from django.db import models
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

from organizations.audit import Actor
from organizations.auth.staff import actor_of, staff_of
from organizations.permissions import Permission
from rokka.core.errors import DomainError
from rokka.core.http import status_of

admin.site.unregister(Group)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows the rows that the roles of a user allow, and changes none."""

    permission: ClassVar[Permission | None] = (
        None  # to see a row, in the organization of the row; None: for superusers only
    )
    organization_field: ClassVar[str] = "organization"  # what leads from a row to its organization
    actions: Sequence[str] | None = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each is one more count of all rows
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

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        """Rows of organizations that the user has no access to are excluded, from lists and by URL alike."""
        found: models.QuerySet = super().get_queryset(request)
        staff = staff_of(request)
        if staff.superuser:
            return found
        return (
            found.filter(**{f"{self.organization_field}__in": staff.organization_ids_with(self.permission)})
            if self.permission
            else found.none()
        )


class ActionAdmin(ReadOnlyAdmin):
    """Adds actions that call an operation for each row, from its page or from the list, after a confirmation.

    `actions` names methods that are decorated with `row_action`.
    """

    change_form_template = "admin/row_actions.html"
    max_rows: ClassVar[int] = 500  # each row is a transaction, and the request waits for all of them
    over_limit_hint: ClassVar[str] = ""  # what to do instead

    def object_actions(self, row: Any) -> Sequence[str]:
        """The actions offered on the page of this row."""
        return self.actions or ()

    def has_action_permission(self, request: HttpRequest, name: str, row: Any) -> bool:
        """Whether the roles of the user allow the action on this row."""
        permission = getattr(type(self), name).permission
        return staff_of(request).has_permission(
            permission(row) if callable(permission) else permission, row.organization_id
        )

    def row_label(self, row: Any) -> str:
        """The row as the confirmation page lists it."""
        return str(row)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        actions: dict[str, Any] = self.get_actions(request)
        for name, (action, *_) in actions.items():
            if f"_{name}" in request.POST:
                row = self.get_object(request, unquote(object_id))
                answer: HttpResponse | None = action(self, request, [row] if row else [])
                return answer or HttpResponseRedirect(request.get_full_path())
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
        actions: dict[str, Any] = self.get_actions(request)
        context["buttons"] = [
            (name, actions[name][2])
            for name in self.object_actions(obj)
            if self.has_action_permission(request, name, obj)
        ]
        return super().render_change_form(request, context, add, change, form_url, obj)

    def confirmation(
        self, request: HttpRequest, rows: list[Any], *, name: str, title: str, help_text: str
    ) -> HttpResponse:
        """A page that shows which rows an action is about, and posts to where the request came from."""
        what = f"{len(rows)} {model_ngettext(self.opts, len(rows))}"
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
                ("action", name),  # what a list reads
                (f"_{name}", "yes"),  # what the page of one row reads
                *((ACTION_CHECKBOX_NAME, str(row.pk)) for row in rows),
            ],
            button=f"{title}: {what}",
            cancel_url=request.get_full_path(),
            cancel_label=capfirst(str(self.opts.verbose_name_plural)),
        ).response(self, request)

    def run_action(self, request: HttpRequest, rows: list[Any], act: "RowAction", done: str) -> None:
        """Call the operation for each row and show a message for each refusal, which doesn't stop the others."""
        actor = actor_of(request)
        missing = len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(rows)
        if missing > 0:
            text = f"{missing} {model_ngettext(self.opts, missing)} no longer exist."
            self.message_user(request, text, messages.ERROR)
        count = 0
        for row in rows:
            if not self.has_action_permission(request, act.__name__, row):
                text = f"Your roles in {row.organization} don't allow this: {self.row_label(row)}."
                self.message_user(request, text, messages.ERROR)
                continue
            try:
                message = act(self, row, actor)
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
    """Decorate a view: a DomainError becomes a page with the message and the status that the API would return."""

    @wraps(view)
    def answer(self: admin.ModelAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(self, request, *args, **kwargs)
        except DomainError as error:
            return error_response(self, request, error)

    return cast(View, answer)


def error_response(self: admin.ModelAdmin, request: HttpRequest, error: DomainError) -> HttpResponse:
    context = self.admin_site.each_context(request) | {"title": "Action failed", "error": error}
    return TemplateResponse(request, "admin/error.html", context, status=int(status_of(error)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """What users read before they confirm an action, whatever it is about."""

    title: str
    help_text: str
    hidden: Sequence[tuple[str, str]]  # fields to send again, beside `confirmed`
    button: str
    cancel_url: str
    cancel_label: str  # of the breadcrumb
    summary: Sequence[tuple[str, str]] = ()  # label and text
    form: Form | None = None  # what the action asks for
    error: str = ""  # why it was refused the last time
    rows: Sequence[tuple[str, str]] = ()  # URL and label of what it is about
    images: Sequence[Any] = ()  # the same as thumbnails
    more: int = 0  # images that are not shown
    destructive: bool = False
    enabled: bool = True

    def response(self, model_admin: admin.ModelAdmin, request: HttpRequest) -> TemplateResponse:
        """The page; with status 400 if there is an error."""
        context = model_admin.admin_site.each_context(request) | {"title": self.title, "confirmation": self}
        return TemplateResponse(request, "admin/confirmation.html", context, status=400 if self.error else 200)


RowAction = Callable[[Any, Any, Actor], str | None]
AdminAction = Callable[[ActionAdmin, HttpRequest, Any], HttpResponse | None]


PermissionSpec = Permission | Callable[[Any], Permission]


def row_action(
    description: str, *, permission: PermissionSpec, help_text: str, done: str = ""
) -> Callable[[RowAction], AdminAction]:
    """Turn a method that calls an operation for one row, and may return a message, into an action of the admin.

    `permission` is required in the organization of the row; it can be a function of the row. `done` is the word for
    the final message, such as "cancelled" in "2 jobs cancelled."
    """

    def action_of(act: RowAction) -> AdminAction:
        @admin.action(description=description, permissions=["view"])
        @wraps(act)
        def action(self: ActionAdmin, request: HttpRequest, rows: Any) -> HttpResponse | None:
            rows = list(rows[: self.max_rows + 1])
            if len(rows) > self.max_rows:
                message = f"Select at most {self.max_rows} {self.opts.verbose_name_plural}. {self.over_limit_hint}"
                self.message_user(request, message.strip(), messages.ERROR)
            elif "confirmed" in request.POST:
                self.run_action(request, rows, act, done)
            elif rows:
                return self.confirmation(request, rows, name=act.__name__, title=description, help_text=help_text)
            return None

        action.permission = permission  # type: ignore[attr-defined]
        return action

    return action_of
