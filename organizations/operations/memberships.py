"""Operations on memberships and roles. An organization always has an active admin."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.auth import consent
from organizations.errors import InvalidRoles, MembershipNotFound, UserNotFound
from organizations.models import Membership, Organization, User
from organizations.operations.last_admin import check_not_last_admin
from organizations.operations.users import NO_OPTIONS, KeyOptions, create_user
from organizations.operations.validation import validate_comment
from organizations.permissions import ROLE_NAMES, Role


class MembershipChange(Enum):
    """The effect of setting roles."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class NewMember:
    """A membership of a new user. `api_key` is available only here."""

    membership: Membership
    api_key: str


@transaction.atomic
def add_member_with_new_user(
    organization: Organization,
    roles: Iterable[str],
    *,
    email: str,
    comment: str,
    key_comment: str | None = None,
    key_options: KeyOptions = NO_OPTIONS,
    actor: Actor,
) -> NewMember:
    """Create a user with this email, an API key and a membership. Raises InvalidRoles, InvalidInput.

    The key has the comment of the membership if it has none of its own.
    """
    names = validate_roles(roles)
    key_comment = comment if key_comment is None else key_comment
    new = create_user(email, comment=key_comment, key_options=key_options, actor=actor)
    membership = _add(organization, new.user, names, comment, actor, accepted=True)
    return NewMember(membership, new.api_key)


@transaction.atomic
def set_roles(
    organization: Organization, user_id: UUID, roles: Iterable[str], *, comment: str | None, actor: Actor
) -> tuple[Membership, MembershipChange]:
    """Set the roles of a user, replacing all others. A comment of None is unchanged.

    A user who is added by another user has to accept the membership (auth/consent.py). Raises InvalidRoles,
    UserNotFound, LastAdmin.
    """
    names = validate_roles(roles)
    if comment is not None:
        validate_comment(comment)
    # Without the lock, two admins could remove the role from each other at the same time.
    organization = Organization.objects.get_for_update(organization)
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise UserNotFound("User not found.")
    membership = organization.memberships.select_related("user", "organization").filter(user=user).first()
    if membership is None:
        accepted = consent.speaks_for(actor, user)
        return _add(organization, user, names, comment or "", actor, accepted=accepted), MembershipChange.CREATED
    before: dict[str, Any] = {"roles": membership.roles, "comment": membership.comment}
    after: dict[str, Any] = {"roles": names, "comment": membership.comment if comment is None else comment}
    if after == before:
        return membership, MembershipChange.UNCHANGED
    if Role.ADMIN not in names:
        check_not_last_admin(membership)
    if consent.speaks_for(actor, user):
        membership.accepted_at = membership.accepted_at or timezone.now()
    elif consent.would_end_being_public(membership, names):
        membership.accepted_at = None
    membership.roles, membership.comment = after["roles"], after["comment"]
    membership.save(update_fields=["roles", "comment", "accepted_at"])
    _record(actor, "membership.updated", membership, before=before, after=after)
    return membership, MembershipChange.UPDATED


@transaction.atomic
def remove_member(organization: Organization, user_id: UUID, *, actor: Actor) -> None:
    """Delete a membership, the actor's own or another's. The user and its keys are not deleted.

    Raises MembershipNotFound, LastAdmin.
    """
    # Without the lock, two admins could remove each other at the same time.
    organization = Organization.objects.get_for_update(organization)
    membership = organization.memberships.select_related("user", "organization").filter(user=user_id).first()
    if membership is None:
        raise MembershipNotFound("This user is not a member of the organization.")
    check_not_last_admin(membership)
    if consent.is_public(membership.user):
        User.objects.filter(pk=membership.user_id).update(keys_exposed=True)
    is_own = actor.user is not None and actor.user.pk == membership.user_id
    action = "membership.left" if is_own else "membership.deleted"
    _record(actor, action, membership, before={"roles": membership.roles})
    membership.delete()


def validate_roles(roles: Iterable[str]) -> list[str]:
    """Normalize role names and remove duplicates. Raises InvalidRoles."""
    names = list(dict.fromkeys(role.strip().lower() for role in roles))
    if not names:
        raise InvalidRoles(f"roles: must contain at least one of {', '.join(Role)}.")
    for name in names:
        if name not in ROLE_NAMES:
            raise InvalidRoles(f"roles: unknown role {name[:80]!r}. Use {', '.join(Role)}.")
    return names


def _add(
    organization: Organization, user: User, roles: list[str], comment: str, actor: Actor, *, accepted: bool
) -> Membership:
    membership = Membership.objects.create(
        organization=organization,
        user=user,
        roles=roles,
        comment=comment,
        accepted_at=timezone.now() if accepted else None,
    )
    _record(actor, "membership.created", membership, after={"roles": roles, "comment": comment})
    return membership


def _record(actor: Actor, action: str, membership: Membership, **details: Any) -> None:
    target = str(membership.user_id)
    record(actor, action, organization=membership.organization, target=target, target_id=membership.pk, **details)
