"""An organization always keeps somebody who may do everything."""

from organizations.errors import LastAdmin
from organizations.models import Membership
from organizations.permissions import Role


def check_not_last_admin(leaving: Membership) -> None:
    """Raises LastAdmin if the organization, which is held, would be left without anybody."""
    others = leaving.organization.memberships.filter(active=True, user__is_active=True).exclude(pk=leaving.pk)
    acts = leaving.active and leaving.user.is_active and Role.ADMIN in leaving.roles
    if acts and not any(Role.ADMIN in roles for roles in others.values_list("roles", flat=True)):
        raise LastAdmin(f"This is the last admin of {leaving.organization.name!r}. Make somebody else admin first.")
