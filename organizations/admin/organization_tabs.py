"""What is on the pages of an organization, and what may be changed there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpRequest
from rest_framework import serializers

from organizations.auth.staff import actor_of
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
ROLES = {  # what each allows, in a few words
    Role.ADMIN: "everything",
    Role.ADMIN_READ: "read, and see the members",
    Role.WRITE: "read, upload, change and delete",
    Role.READ: "see pictures, download originals",
    Role.IMAGES_WRITE: "see, upload, change and delete pictures",
    Role.IMAGES_READ: "see pictures",
    Role.PROTECTED_DOWNLOAD: "download protected originals",
    Role.UNLOCK: "lock and unlock pictures",
    Role.UPLOAD: "upload pictures, and nothing else",
    Role.BILLING_READ: "see the numbers that are billed",
}


@dataclass(frozen=True, slots=True)
class OneTimeSecret:
    """What a change leaves to be shown on the page itself: a secret that is seen once."""

    secret: str
    about: str


FormHandler = Callable[[HttpRequest, Organization], OneTimeSecret | None]
ContextBuilder = Callable[[HttpRequest, Organization], dict[str, Any]]


# --- Usage ------------------------------------------------------------------------------------------------------------


def usage(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    span = next((span for span in PERIODS if str(span) == request.GET.get("days")), PERIODS[0])
    days = daily_stats.days(organization, daily_stats.today() - timedelta(days=span - 1), daily_stats.today())[::-1]
    living = organization.images.filter(tombstone__isnull=True)
    formats = list(living.values("format").annotate(count=Count("pk"), bytes=Sum("size")).order_by("-count", "format"))

    def points(name: str) -> list[tuple[str, int]]:
        return [(f"{one.day}", getattr(one, name)) for one in days]

    return {
        "totals": counters.totals(organization),
        "acts_in_trash": organization.tombstones.restorable().non_empty().count(),
        "formats": formats,
        "most": max((one["count"] for one in formats), default=0),
        "span": span,
        "spans": PERIODS,
        "charts": [
            charts.line_chart("Pictures", points("images")),
            charts.line_chart("Bytes", points("bytes"), charts.size),
            charts.bar_chart("Bytes downloaded a day", points("bytes_downloaded"), charts.size),
        ],
    }


# --- Members ----------------------------------------------------------------------------------------------------------


def members(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    found = organization.memberships.select_related("user").annotate(keys=Count("user__api_keys"))
    return {
        "members": list(found.order_by("created", "id")),
        "roles": ROLES,
        "sent_roles": request.POST.getlist("roles"),
    }


def add_member(request: HttpRequest, organization: Organization) -> OneTimeSecret | None:
    """By the name of somebody of the staff, the id of any user, or an e-mail address, for which a user is made."""
    sent = request.POST
    who, comment = str(sent.get("who", "")).strip(), str(sent.get("comment", ""))
    if "\0" in who:
        raise InvalidInput("who: it contains a NUL character.")
    roles = [str(role) for role in sent.getlist("roles")]
    user = find_user(who)
    if user is not None:
        if organization.memberships.filter(user=user).exists():
            raise InvalidInput("This user is a member already. FormHandler the roles below.")
        member, _ = set_roles(organization, user.pk, roles, comment=comment, actor=actor_of(request))
        messages.success(request, f"{member.member_name} is a member now.")
        return None
    if "@" not in who:
        raise InvalidInput(f"who: {who[:80]!r} is no name of staff, no id of a user and no e-mail address.")
    made = add_member_with_new_user(organization, roles, email=who, comment=comment, actor=actor_of(request))
    return OneTimeSecret(made.api_key, f"The key of {who}, who is a member now. It is shown once.")


def find_user(who: str) -> User | None:
    try:
        return User.objects.filter(pk=UUID(who)).first()
    except ValueError:
        return User.objects.filter(username=who).first()


def change_member(request: HttpRequest, organization: Organization) -> None:
    sent = request.POST
    member = get_member(organization, str(sent.get("user", "")))
    roles = [str(role) for role in sent.getlist("roles")]
    set_roles(organization, member.user_id, roles, comment=str(sent.get("comment", "")), actor=actor_of(request))
    messages.success(request, f"The roles of {member.member_name} are set.")


def remove_member_view(request: HttpRequest, organization: Organization) -> None:
    member = get_member(organization, str(request.POST.get("user", "")))
    remove_member(organization, member.user_id, actor=actor_of(request))
    messages.success(request, f"{member.member_name} is no member any more.")


def get_member(organization: Organization, user_id: str) -> Membership:
    try:
        return organization.memberships.select_related("user").get(user=UUID(user_id))
    except (ValueError, Membership.DoesNotExist) as error:
        raise InvalidInput("This person is no member any more.") from error


# --- Settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """An option as a form shows it; `kind` is that of the control."""

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
    shown = [option(name, organization.options.get(name)) for name in OPTIONS]
    if request.POST.get("do") == "options":  # and refused, or we would not be here: what was typed stays
        shown = [replace(one, value=str(request.POST.get(one.name, ""))) for one in shown]
    return {"options": shown}


def option(name: str, value: Any) -> Option:
    known = OPTIONS[name]
    kind = next(kind for type_, kind in KINDS if isinstance(known, type_))
    if isinstance(known, serializers.BooleanField):
        return Option(name, kind, "" if value is None else str(value).lower(), ("true", "false"))
    if isinstance(known, serializers.ChoiceField):
        return Option(name, kind, value or "", list(known.choices))
    return Option(name, kind, "\n".join(value or ()) if kind == "lines" else value or "")


def update_profile_view(request: HttpRequest, organization: Organization) -> None:
    typed = {name: str(request.POST.get(name, "")).strip() for name in ("display_name", "billing_email")}
    if not typed["display_name"]:
        raise InvalidInput("display_name: it must not be empty.")
    facts = {name: text for name, text in typed.items() if text != getattr(organization, name)}
    update_profile(organization, facts, actor=actor_of(request))
    messages.success(request, "Saved.")


def set_options(request: HttpRequest, organization: Organization) -> None:
    changes: dict[str, Any] = {}
    for name in OPTIONS:
        text = str(request.POST.get(name, "")).replace("\r\n", "\n").strip()
        if text == option(name, organization.options.get(name)).value:
            continue  # what nobody changed may be something that this person could not set
        if not text:
            changes[name] = None
        elif option(name, None).kind == "lines":
            changes[name] = [line.strip() for line in text.splitlines() if line.strip()]
        else:
            changes[name] = text
    update_options(organization, changes, actor=actor_of(request))
    messages.success(request, "The options are saved.")


# --- Signing keys -----------------------------------------------------------------------------------------------------


def signing_keys(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    return {"keys": list(organization.signing_keys.order_by("created", "id")), "most": SigningKey.MAX_KEYS}


def add_key(request: HttpRequest, organization: Organization) -> None:
    key = add_signing_key(organization, actor=actor_of(request))
    messages.success(request, f"The key {key.fingerprint} is valid from now on, beside the others.")


def show_key(request: HttpRequest, organization: Organization) -> OneTimeSecret:
    key = reveal_signing_key(organization, str(request.POST.get("key", "")), actor=actor_of(request))
    return OneTimeSecret(key.key, f"The signing key {key.fingerprint}")


def remove_key(request: HttpRequest, organization: Organization) -> None:
    fingerprint = str(request.POST.get("key", ""))
    remove_signing_key(organization, fingerprint, actor=actor_of(request))
    messages.success(request, f"The key {fingerprint} is out of use, and with it every URL that it signed.")


# --- History ----------------------------------------------------------------------------------------------------------


def history(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    events = AuditEvent.objects.filter(organization=organization).select_related("user")
    return {"events": list(events.order_by("-created", "-id")[:EVENT_LIMIT])}


# --- All together -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tab:
    """A page of an organization: who may see it, what is on it, and what may be changed there, by whom."""

    label: str
    permission: Permission
    about: ContextBuilder
    changes: dict[str, FormHandler] = field(default_factory=dict)
    change_permission: Permission = Permission.ORGANIZATION_WRITE


TABS = {
    "usage": Tab("Usage", P.STATS_READ, usage),
    "members": Tab(
        "Members",
        P.MEMBERSHIPS_READ,
        members,
        {"add": add_member, "roles": change_member, "remove": remove_member_view},
        P.MEMBERSHIPS_WRITE,
    ),
    "settings": Tab("Options", P.ORGANIZATION_READ, settings, {"facts": update_profile_view, "options": set_options}),
    "keys": Tab(
        "Signing keys", P.ORGANIZATION_WRITE, signing_keys, {"add": add_key, "show": show_key, "remove": remove_key}
    ),
    "history": Tab("History", P.AUDIT_READ, history),
}
