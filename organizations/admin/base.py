"""What all pages of the back-office share: they show everything, and change only what operations change."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_ngettext, unquote
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse

from organizations.audit import Actor
from organizations.auth.staff import actor_of, staff_of
from organizations.permissions import Permission
from rokka.core.errors import DomainError
from rokka.core.http import status_of

admin.site.unregister(Group)


class ReadOnlyAdmin(admin.ModelAdmin):
    """Staff may look at what their roles let them see, and change nothing."""

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
        """Rows of other organizations are not there, in lists and by their address alike."""
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
    """Staff may also have operations done, to one row on its page or to many in the list, once they confirm it.

    `actions` names methods that are marked with `operation`.
    """

    change_form_template = "admin/operation_form.html"
    max_rows: ClassVar[int] = 500  # rows at a time: each is a transaction, and somebody waits for all of them
    over_limit_hint: ClassVar[str] = ""  # how to do it to more

    def object_actions(self, row: Any) -> Sequence[str]:
        """The operations to offer on the page of this row."""
        return self.actions or ()

    def has_action_permission(self, request: HttpRequest, name: str, row: Any) -> bool:
        """Do this person's roles allow this operation on this row?"""
        permission = getattr(type(self), name).permission
        return staff_of(request).has_permission(
            permission(row) if callable(permission) else permission, row.organization_id
        )

    def row_label(self, row: Any) -> str:
        """The line about this row that somebody reads before confirming."""
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

    def confirmation(self, request: HttpRequest, rows: list[Any], **context: Any) -> HttpResponse:
        """A page that says what is about to happen to which rows; it posts to where the question came from."""
        context |= self.admin_site.each_context(request) | {
            "opts": self.opts,
            "rows": [(row, self.row_label(row)) for row in rows],
            "what": model_ngettext(self.opts, len(rows)),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/operation_confirmation.html", context)

    def run_action(self, request: HttpRequest, rows: list[Any], act: "RowAction", done: str) -> None:
        """Do it to each row, and tell what was refused. A refusal does not keep the next row from its turn."""
        actor = actor_of(request)
        missing = len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(rows)
        if missing > 0:
            gone = f"No longer here: {missing} {model_ngettext(self.opts, missing)}."
            self.message_user(request, gone, messages.ERROR)
        count = 0
        for row in rows:
            if not self.has_action_permission(request, act.__name__, row):
                refusal = f"Your roles in {row.organization} do not allow this: {self.row_label(row)}."
                self.message_user(request, refusal, messages.ERROR)
                continue
            try:
                told = act(self, row, actor)
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
                continue
            count += 1
            if told:
                self.message_user(request, told, messages.SUCCESS)
        if count and done:
            self.message_user(request, f"{count} {model_ngettext(self.opts, count)} {done}.", messages.SUCCESS)


View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def error_page(view: View) -> View:
    """A view of our own in the back-office: what is refused is said on a page, with the status that the API gives."""

    @wraps(view)
    def answer(self: admin.ModelAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(self, request, *args, **kwargs)
        except DomainError as error:
            return error_response(self, request, error)

    return cast(View, answer)


def error_response(self: admin.ModelAdmin, request: HttpRequest, error: DomainError) -> HttpResponse:
    context = self.admin_site.each_context(request) | {"title": "This cannot be done", "error": error}
    return TemplateResponse(request, "admin/error.html", context, status=int(status_of(error)))


RowAction = Callable[[Any, Any, Actor], str | None]
AdminAction = Callable[[ActionAdmin, HttpRequest, Any], HttpResponse | None]


PermissionSpec = Permission | Callable[[Any], Permission]


def row_action(
    description: str, *, permission: PermissionSpec, explanation: str, done: str = ""
) -> Callable[[RowAction], AdminAction]:
    """Make an action of a method that calls an operation for one row, and may return what to tell about it.

    `permission` is what it takes in the organization of the row, or tells so of a row. `done` says in the end what has
    become of so many rows, such as "locked".
    """

    def action_of(act: RowAction) -> AdminAction:
        @admin.action(description=description, permissions=["view"])
        @wraps(act)
        def action(self: ActionAdmin, request: HttpRequest, rows: Any) -> HttpResponse | None:
            rows = list(rows[: self.max_rows + 1])
            if len(rows) > self.max_rows:
                message = (
                    f"No more than {self.max_rows} {self.opts.verbose_name_plural} at a time. {self.over_limit_hint}"
                )
                self.message_user(request, message.strip(), messages.ERROR)
            elif "confirmed" in request.POST:
                self.run_action(request, rows, act, done)
            elif rows:
                return self.confirmation(request, rows, action=act.__name__, title=description, explanation=explanation)
            return None

        action.permission = permission  # type: ignore[attr-defined]
        return action

    return action_of
