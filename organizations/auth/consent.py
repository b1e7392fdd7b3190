"""What others may do to a user without being asked: make them a member, and nothing that follows from it.

An admin can add any user whose id they know, and ids are no secrets: they are the first half of every key. Until the
user accepts such a membership it shows no e-mail address, is no destination of copies, and does not count when it is
asked whether the user is a public one. The first request that the user sends to the organization accepts it. The key
of a public user accepts nothing: whoever finds it in a page could send that request.
"""

from collections.abc import Iterable

from django.db.models.functions import Now

from organizations.audit import Actor
from organizations.models import AuditSource, Membership, User
from organizations.permissions import has_public_role

OPERATORS = (AuditSource.COMMAND, AuditSource.SYSTEM)


def is_public(user: User) -> bool:
    """Whether the user's keys are meant to be seen by everybody: all accepted memberships hold a public role."""
    return _are_public(user.memberships.exclude(accepted_at=None).values_list("roles", flat=True))


def accept(membership_id: int, user: User) -> bool:
    """Consent to a membership that another user made; False for public users, who cannot."""
    if is_public(user):
        return False
    Membership.objects.filter(pk=membership_id, accepted_at=None).update(accepted_at=Now())
    return True


def speaks_for(actor: Actor, user: User) -> bool:
    """Whether the user need not be asked about what the actor does: an operator, or the user."""
    if actor.source in OPERATORS or actor.user is None:
        return actor.source in OPERATORS
    return actor.user.pk == user.pk or (actor.source == AuditSource.STAFF and actor.user.is_superuser)


def would_end_being_public(membership: Membership, roles: Iterable[str]) -> bool:
    """Whether these roles would make an account of the public user of several organizations.

    One that has a user for itself may do that. Of others a stranger could, and with a public key at hand, the account
    would be the stranger's.
    """
    others = membership.user.memberships.exclude(pk=membership.pk).exclude(accepted_at=None)
    was = membership.accepted_at is not None and has_public_role(membership.roles)
    return was and not has_public_role(roles) and _are_public(others.values_list("roles", flat=True))


def _are_public(memberships: Iterable[list[str]]) -> bool:
    """A user who is no member anywhere has an account."""
    roles_of_each = list(memberships)
    return bool(roles_of_each) and all(has_public_role(roles) for roles in roles_of_each)
