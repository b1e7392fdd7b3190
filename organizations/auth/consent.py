"""Consent of users to memberships that other users created.

An admin can add any user whose ID they know, and IDs are not secret: they are the first half of every key. Until the
user accepts such a membership, it hides the user's email, is not a valid destination of copies, and is ignored when
deciding whether the user is public. The first request of the user to the organization accepts the membership. Requests
with the key of a public user don't: anyone who finds the key in a web page could send one.
"""

from collections.abc import Iterable

from django.db.models.functions import Now

from organizations.audit import Actor
from organizations.models import AuditSource, Membership, User
from organizations.permissions import has_public_role

OPERATORS = (AuditSource.COMMAND, AuditSource.SYSTEM)


def is_public(user: User) -> bool:
    """Return whether all accepted memberships of the user have a public role, so that its keys are not secret.

    A public user whose last membership is removed stays public: its keys are still in web pages.
    """
    roles_of_each = list(user.memberships.exclude(accepted_at=None).values_list("roles", flat=True))
    return _are_public(roles_of_each) if roles_of_each else user.keys_exposed


def accept(membership_id: int, user: User) -> bool:
    """Accept a membership that another user created. Returns False for public users, who can't accept."""
    if is_public(user):
        return False
    Membership.objects.filter(pk=membership_id, accepted_at=None).update(accepted_at=Now())
    return True


def speaks_for(actor: Actor, user: User) -> bool:
    """Return whether the actor can consent for the user: the user itself, an operator or a superuser.

    The keys of public users can't, but their logins to the admin can.
    """
    if actor.source in OPERATORS or actor.user is None:
        return actor.source in OPERATORS
    if actor.source == AuditSource.STAFF:
        return actor.user.pk == user.pk or actor.user.is_superuser
    return actor.user.pk == user.pk and not is_public(user)


def would_end_being_public(membership: Membership, roles: Iterable[str]) -> bool:
    """Return whether the user would no longer be public with these roles, although it has other memberships.

    An admin of one organization must not decide this for the others: a public key, which anyone can find, would then
    give access to the account.
    """
    others = membership.user.memberships.exclude(pk=membership.pk).exclude(accepted_at=None)
    was = membership.accepted_at is not None and has_public_role(membership.roles)
    return was and not has_public_role(roles) and _are_public(others.values_list("roles", flat=True))


def _are_public(memberships: Iterable[list[str]]) -> bool:
    """Return whether there are memberships and all have a public role."""
    roles_of_each = list(memberships)
    return bool(roles_of_each) and all(has_public_role(roles) for roles in roles_of_each)
