"""The page on which a key is revoked, and what was made with it is undone."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from organizations.admin.base import Confirmation, error_page
from organizations.auth.consent import is_public
from organizations.auth.staff import StaffAccess, actor_of, staff_of
from organizations.errors import KeyNotFound, PublicUser
from organizations.models import ApiKey, User
from organizations.operations import KeyEffects, delete_key, effects_of, had_key
from rokka.backoffice.key_effects import Item, items_of, summary_of, undo_items

LEAKED = (
    "If the key has leaked, select what else to undo: it was made with the key, its tokens, or keys made with them."
)
NOTHING_TO_UNDO = "There are no keys, memberships or jobs made with it that you can undo."
ONLY_REVOKE = "only_revoke"  # name of a button
MAX_ITEMS = 200  # on the page; the command has no limit


@error_page
def key_view(user_admin: admin.ModelAdmin, request: HttpRequest, user_id: UUID, key_id: UUID) -> HttpResponse:
    """Revoke a key, and undo what was made with it. Also for keys that were revoked before."""
    staff = staff_of(request)
    user = user_admin.get_queryset(request).filter(pk=user_id).first()
    if user is None or not had_key(user, key_id):
        raise KeyNotFound("API key not found.")
    if not staff.superuser and is_public(user):
        raise PublicUser("One of your roles makes your API keys public, so you can't create or revoke keys.")
    key = user.api_keys.filter(pk=key_id).first()
    if request.method == "POST":
        return _revoke(request, user, key, key_id)
    effects = effects_of(key_id)
    items = [item for item in items_of(effects, operator=staff.superuser) if _may_undo(staff, item)]
    hidden = len(effects.keys) + len(effects.memberships) + len(effects.jobs) - len(items)
    return Confirmation(
        title=f'Revoke the API key "{key}"' if key else "Made with a revoked API key",
        help_text=("Clients that use this key, or a token of it, will stop working. " if key else "")
        + (LEAKED if items else NOTHING_TO_UNDO),
        summary=_summary(staff, effects, hidden + max(0, len(items) - MAX_ITEMS)),
        form=_form(items[:MAX_ITEMS]),
        hidden=(),
        button=("Revoke and undo the selected" if items else "Revoke key") if key else "Undo the selected",
        cancel_url=reverse("admin:organizations_user_change", args=[user.pk]),
        cancel_label=str(user),
        destructive=True,
        enabled=key is not None or any(not item.problem for item in items),
        alternative=(ONLY_REVOKE, "Only revoke key") if key and items else None,
    ).response(user_admin, request)


def _revoke(request: HttpRequest, user: User, key: ApiKey | None, key_id: UUID) -> HttpResponse:
    actor, staff = actor_of(request), staff_of(request)
    if key is not None:  # first, so that nothing more is made with it
        delete_key(user, str(key_id), actor=actor)
        messages.success(request, "API key revoked. Tokens created with it no longer work.")
    items = [item for item in items_of(effects_of(key_id), operator=staff.superuser) if _may_undo(staff, item)]
    selected = [] if ONLY_REVOKE in request.POST else [item for item in items if item.name in request.POST]
    done, problems = undo_items(selected, actor)
    if done:
        messages.success(request, f"Undone: {summary_of(done)}.")
    for problem in problems:
        messages.error(request, problem)
    if effects_of(key_id):
        url = reverse("admin:api_key", args=[user.pk, key_id])
        messages.warning(request, format_html('<a href="{}">What else was made with the key</a>', url))
    return HttpResponseRedirect(reverse("admin:organizations_user_change", args=[user.pk]))


def _may_undo(staff: StaffAccess, item: Item) -> bool:
    if item.organization is None or item.permission is None:
        return staff.superuser or item.user == staff.user
    return staff.has_permission(item.permission, item.organization)


def _form(items: Sequence[Item]) -> forms.Form:
    form = forms.Form()
    for item in items:
        label = f"{item.label} – {item.problem}" if item.problem else item.label
        form.fields[item.name] = forms.BooleanField(
            label=label, required=False, initial=not item.problem, disabled=bool(item.problem)
        )
    return form


def _summary(staff: StaffAccess, effects: KeyEffects, hidden: int) -> list[tuple[str, Any]]:
    created = [one.name for one in effects.organizations if staff.granted(one.pk)]
    rows = [("Organizations created", f"{', '.join(created)}. They can't be deleted; remove their members.")]
    others = ("Not listed", f"{hidden} more. A superuser can undo them, or manage.py delete_api_key --undo.")
    return [*(rows if created else []), *([others] if hidden else [])]
