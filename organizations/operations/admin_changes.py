"""New and removed admins, which the dashboard and the pages of the organization show for a week."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from organizations.auth.staff import StaffAccess
from organizations.models import AuditEvent, Membership, Organization, User
from organizations.permissions import Permission, Role

SHOWN_FOR = timedelta(days=7)
LIST_LIMIT = 8


@dataclass(frozen=True, slots=True)
class AdminChange:
    """A user who became an admin of an organization (`added`), or is no longer one."""

    organization: Organization
    name: str  # of the user
    added: bool
    by: str
    created: datetime


def recent_admin_changes(staff: StaffAccess, organization: Organization | None = None) -> list[AdminChange]:
    """The newest changes in this organization, by default in all that are the user's own and show members."""
    events = AuditEvent.objects.account_changes().filter(created__gte=timezone.now() - SHOWN_FOR)
    if organization is not None:
        events = events.filter(organization=organization)
    if not staff.superuser:
        visible = staff.organization_ids_with(Permission.MEMBERSHIPS_READ, accepted=organization is None)
        events = events.filter(organization__in=visible)
    found = [
        event
        for event in events.select_related("organization", "user").order_by("-id")
        if event.action in AuditEvent.MEMBERSHIP_ACTIONS
        and (Role.ADMIN in event.roles_before) != (Role.ADMIN in event.roles_after)
    ][:LIST_LIMIT]
    users = User.objects.in_bulk({UUID(event.target) for event in found})
    rows = Membership.objects.filter(user__in=users, organization__in={event.organization_id for event in found})
    current = {(row.organization_id, row.user_id): row for row in rows.select_related("user")}
    return [
        AdminChange(
            event.organization,
            _name(users[user_id], current.get((event.organization.pk, user_id)), staff),
            Role.ADMIN in event.roles_after,
            event.credential or (event.user.username if event.user else "") or event.source,
            event.created,
        )
        for event in found
        if event.organization and (user_id := UUID(event.target))
    ]


def _name(user: User, membership: Membership | None, staff: StaffAccess) -> str:
    """The name of the user; an email only for superusers, and as long as the membership shows it."""
    if staff.superuser:
        return str(user)
    return membership.member_name if membership else user.username or str(user.pk)
