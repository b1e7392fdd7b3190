"""The rule that an organization always has an active admin."""

from organizations.errors import LastAdmin
from organizations.models import Membership
from organizations.permissions import Role


def check_not_last_admin(leaving: Membership) -> None:
    """Raise LastAdmin if `leaving` is the last active admin. The caller must have locked the organization."""
    others = leaving.organization.memberships.filter(active=True, user__is_active=True).exclude(pk=leaving.pk)
    is_admin = leaving.active and leaving.user.is_active and Role.ADMIN in leaving.roles
    if is_admin and not any(Role.ADMIN in roles for roles in others.values_list("roles", flat=True)):
        raise LastAdmin(f"This is the last admin of {leaving.organization.name!r}. Make another user an admin first.")
