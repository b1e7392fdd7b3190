"""The rule that an organization always has an active admin."""

from organizations.errors import LastAdmin
from organizations.models import Membership
from organizations.permissions import Role


def check_not_last_admin(leaving: Membership) -> None:
    """Raise LastAdmin if `leaving` is the last active admin. The caller must have locked the organization.

    Admins who have not accepted the membership don't count: a stranger could make them the last admin, who can neither
    leave nor be deactivated.
    """
    others = leaving.organization.memberships.filter(active=True, user__is_active=True, accepted_at__isnull=False)
    is_admin = leaving.active and leaving.user.is_active and leaving.accepted_at and Role.ADMIN in leaving.roles
    other_roles = others.exclude(pk=leaving.pk).values_list("roles", flat=True)
    if is_admin and not any(Role.ADMIN in roles for roles in other_roles):
        raise LastAdmin(
            f"This is the last admin of {leaving.organization.name!r}. Make another user an admin first, who has to "
            "accept the membership with a request to the organization."
        )
