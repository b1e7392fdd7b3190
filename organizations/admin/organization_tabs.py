"""The tabs of an organization in the admin: what each shows, and the actions on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpRequest
from rest_framework import serializers

from organizations.admin.forms import (
    AddMemberForm,
    ChangeMemberForm,
    EmptyForm,
    KeyForm,
    MemberForm,
    OptionsForm,
    ProfileForm,
)
from organizations.auth.staff import actor_of, known_user, staff_of, visible_name
from organizations.models import AuditEvent, Membership, Organization, SigningKey, User
from organizations.operations import (
    add_member_with_new_user,
    add_signing_key,
    remove_member,
    remove_signing_key,
    reveal_signing_key,
    set_roles,
    update_options,
    update_profile,
)
from organizations.options import OPTIONS
from organizations.permissions import Permission, Role
from organizations.usage import counters, daily_stats
from rokka.core import charts
from rokka.core.errors import InvalidInput

EVENT_LIMIT = 100
PERIODS = (30, 90, 365)  # days
P = Permission
ROLE_DESCRIPTIONS = {
    Role.ADMIN: "Full access",
    Role.ADMIN_READ: "Read everything, including members",
    Role.WRITE: "Read, upload, change and delete",
    Role.READ: "View images, download originals",
    Role.IMAGES_WRITE: "View, upload, change and delete images",
    Role.IMAGES_READ: "View images",
    Role.PROTECTED_DOWNLOAD: "Download protected originals",
    Role.UNLOCK: "Lock and unlock images",
    Role.UPLOAD: "Upload only",
    Role.BILLING_READ: "View billing figures",
}


@dataclass(frozen=True, slots=True)
class OneTimeSecret:
    """A secret to show on the page, once."""

    secret: str
    about: str


FormData = dict[str, Any]
FormHandler = Callable[[HttpRequest, Organization, FormData], OneTimeSecret | None]
ContextBuilder = Callable[[HttpRequest, Organization], dict[str, Any]]


# --- Usage ------------------------------------------------------------------------------------------------------------


def usage(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    period = next((days for days in PERIODS if str(days) == request.GET.get("days")), PERIODS[0])
    today = daily_stats.today()
    stats = daily_stats.days(organization, today - timedelta(days=period - 1), today)[::-1]
    active = organization.images.filter(tombstone__isnull=True)
    formats = list(active.values("format").annotate(count=Count("pk"), bytes=Sum("size")).order_by("-count", "format"))

    def points(name: str) -> list[tuple[str, int]]:
        return [(f"{day.day}", getattr(day, name)) for day in stats]

    return {
        "totals": counters.totals(organization),
        "restorable_deletions": organization.tombstones.restorable().non_empty().count(),
        "formats": formats,
        "max_count": max((row["count"] for row in formats), default=0),
        "period": period,
        "periods": PERIODS,
        "charts": [
            charts.line_chart("Images", points("images")),
            charts.line_chart("Storage used", points("bytes"), charts.size),
            charts.bar_chart("Downloads per day", points("bytes_downloaded"), charts.size),
        ],
    }


# --- Members ----------------------------------------------------------------------------------------------------------


def members(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    memberships = organization.memberships.select_related("user").annotate(keys=Count("user__api_keys"))
    return {
        "members": list(memberships.order_by("created", "id")),
        "roles": ROLE_DESCRIPTIONS,
        "submitted_roles": request.POST.getlist("roles"),
    }


def add_member(request: HttpRequest, organization: Organization, data: FormData) -> OneTimeSecret | None:
    """Add an existing user, found by username or ID, or a new user with an API key, by email."""
    who, roles, comment = data["who"], data["roles"], data["comment"]
    user = find_user(who)
    if user is not None:
        if organization.memberships.filter(user=user).exists():
            raise InvalidInput("This user is already a member. Change their roles in the list of members.")
        member, _ = set_roles(organization, user.pk, roles, comment=comment, actor=actor_of(request))
        messages.success(request, f"{member.member_name} is now a member.")
        return None
    if "@" not in who:
        raise InvalidInput(f"who: {who[:80]!r} is not a username, user ID or email address.")
    added = add_member_with_new_user(organization, roles, email=who, comment=comment, actor=actor_of(request))
    return OneTimeSecret(added.api_key, f"API key of the new member {who}. It is shown only once.")


def find_user(who: str) -> User | None:
    try:
        return User.objects.filter(pk=UUID(who)).first()
    except ValueError:
        return User.objects.filter(username=who).first()


def change_member(request: HttpRequest, organization: Organization, data: FormData) -> None:
    member = get_member(organization, data["user"])
    set_roles(organization, member.user_id, data["roles"], comment=data["comment"], actor=actor_of(request))
    messages.success(request, f"Roles of {member.member_name} updated.")


def remove_member_view(request: HttpRequest, organization: Organization, data: FormData) -> None:
    member = get_member(organization, data["user"])
    remove_member(organization, member.user_id, actor=actor_of(request))
    messages.success(request, f"{member.member_name} was removed from {organization}.")


def get_member(organization: Organization, user_id: UUID) -> Membership:
    try:
        return organization.memberships.select_related("user").get(user=user_id)
    except Membership.DoesNotExist as error:
        raise InvalidInput(f"This user is not a member of {organization}.") from error


# --- Settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """An option as the form shows it; `kind` is choice, lines or text."""

    name: str
    kind: str
    value: str
    choices: Iterable[str] = ()


KINDS: tuple[tuple[type[serializers.Field], str], ...] = (
    (serializers.BooleanField, "choice"),
    (serializers.ChoiceField, "choice"),
    (serializers.ListField, "lines"),
    (serializers.Field, "text"),
)


def settings(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    options = [option(name, organization.options.get(name)) for name in OPTIONS]
    if request.POST.get("action") == "options":  # the form was rejected: show what the user entered
        options = [replace(option, value=str(request.POST.get(option.name, ""))) for option in options]
    return {"options": options}


def option(name: str, value: Any) -> Option:
    serializer_field = OPTIONS[name]
    kind = next(kind for type_, kind in KINDS if isinstance(serializer_field, type_))
    if isinstance(serializer_field, serializers.BooleanField):
        return Option(name, kind, "" if value is None else str(value).lower(), ("true", "false"))
    if isinstance(serializer_field, serializers.ChoiceField):
        return Option(name, kind, value or "", list(serializer_field.choices))
    return Option(name, kind, "\n".join(value or ()) if kind == "lines" else value or "")


def update_profile_view(request: HttpRequest, organization: Organization, data: FormData) -> None:
    changes = {name: text for name, text in data.items() if text != getattr(organization, name)}
    update_profile(organization, changes, actor=actor_of(request))
    messages.success(request, "Saved.")


def set_options(request: HttpRequest, organization: Organization, data: FormData) -> None:
    changes: dict[str, Any] = {}
    for name, text in data.items():
        if text == option(name, organization.options.get(name)).value:
            continue  # this user might not have permission to set the current value
        if not text:
            changes[name] = None
        elif option(name, None).kind == "lines":
            changes[name] = [line.strip() for line in text.splitlines() if line.strip()]
        else:
            changes[name] = text
    update_options(organization, changes, actor=actor_of(request))
    messages.success(request, "Options saved.")


# --- Signing keys -----------------------------------------------------------------------------------------------------


def signing_keys(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    return {"keys": list(organization.signing_keys.order_by("created", "id")), "max_keys": SigningKey.MAX_KEYS}


def add_key(request: HttpRequest, organization: Organization, data: FormData) -> None:
    key = add_signing_key(organization, actor=actor_of(request))
    messages.success(request, f"Signing key {key.fingerprint} added. The existing keys stay valid.")


def show_key(request: HttpRequest, organization: Organization, data: FormData) -> OneTimeSecret:
    key = reveal_signing_key(organization, data["key"], actor=actor_of(request))
    return OneTimeSecret(key.key, f"Signing key {key.fingerprint}")


def remove_key(request: HttpRequest, organization: Organization, data: FormData) -> None:
    remove_signing_key(organization, data["key"], actor=actor_of(request))
    messages.success(request, f"Signing key {data['key']} removed. URLs signed with it no longer work.")


# --- History ----------------------------------------------------------------------------------------------------------


def history(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    events = AuditEvent.objects.filter(organization=organization).select_related("user")
    events = events.annotate(user_is_known=known_user(staff_of(request))).order_by("-created", "-id")
    return {"events": [(event, visible_name(event.user, event.user_is_known)) for event in events[:EVENT_LIMIT]]}


# --- Tabs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TabAction:
    """Something a user can submit on a tab: the form that reads it, and the function that does it."""

    form: type[forms.Form]
    handler: FormHandler


@dataclass(frozen=True, slots=True)
class Tab:
    """A page of an organization, with the permissions to view it and to submit its actions."""

    label: str
    permission: Permission
    context: ContextBuilder
    actions: dict[str, TabAction] = field(default_factory=dict)
    change_permission: Permission = Permission.ORGANIZATION_WRITE


TABS = {
    "usage": Tab("Usage", P.STATS_READ, usage),
    "members": Tab(
        "Members",
        P.MEMBERSHIPS_READ,
        members,
        {
            "add": TabAction(AddMemberForm, add_member),
            "roles": TabAction(ChangeMemberForm, change_member),
            "remove": TabAction(MemberForm, remove_member_view),
        },
        P.MEMBERSHIPS_WRITE,
    ),
    "settings": Tab(
        "Options",
        P.ORGANIZATION_READ,
        settings,
        {
            "profile": TabAction(ProfileForm, update_profile_view),
            "options": TabAction(OptionsForm, set_options),
        },
    ),
    "keys": Tab(
        "Signing keys",
        P.ORGANIZATION_WRITE,
        signing_keys,
        {
            "add": TabAction(EmptyForm, add_key),
            "show": TabAction(KeyForm, show_key),
            "remove": TabAction(KeyForm, remove_key),
        },
    ),
    "history": Tab("History", P.AUDIT_READ, history),
}
