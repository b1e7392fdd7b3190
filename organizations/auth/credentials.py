"""Who calls, and what they may do in an organization: asked on every request, so in one query that is written out.

Building this query with the ORM takes ten times as long as running it (docs/performance.md).
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from organizations import permissions
from organizations.audit import Actor
from organizations.auth import consent
from organizations.auth.tokens import Token
from organizations.models import ApiKey, AuditSource, Membership, Organization, User
from organizations.permissions import Permission

TOUCH_INTERVAL = timedelta(hours=24)  # how exact `accessed` and `last_access` are


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller shows: a key, of which we know the digest, or a token that was made with one."""

    digest: str = ""
    token: Token | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """An active member of an organization. Of organization and user, only what is asked for often is loaded.

    `accepted` is false for a membership that the user has not consented to.
    """

    organization: Organization
    user: User
    key_id: UUID
    granted: frozenset[Permission]
    accepted: bool


SQL = """
    SELECT o.id, o.name, u.id, k.id, m.id, m.roles,
           k.accessed IS NULL OR k.accessed < %s, m.last_access IS NULL OR m.last_access < %s,
           m.accepted_at IS NOT NULL
    FROM organizations_apikey k
    JOIN organizations_user u ON u.id = k.user_id
    JOIN organizations_membership m ON m.user_id = u.id
    JOIN organizations_organization o ON o.id = m.organization_id
    WHERE o.name = %s AND m.active AND u.is_active AND
"""
BY_DIGEST = SQL + "k.digest = %s"
BY_ID = SQL + "k.id = %s AND u.id = %s"


def resolve_access(credentials: Credentials, name: str, *, addressed: bool = True) -> Access | None:
    """The access of a caller to the organization of this name; None if there is none, for whatever reason.

    A request that is `addressed` to the organization accepts a membership that another user made.
    """
    long_ago = connection.ops.adapt_datetimefield_value(timezone.now() - TOUCH_INTERVAL)
    values: list[Any] = [long_ago, long_ago, name]
    if credentials.token:
        values += [_value(credentials.token.key_id), _value(credentials.token.user_id)]
    else:
        values += [credentials.digest]
    with connection.cursor() as cursor:
        cursor.execute(BY_ID if credentials.token else BY_DIGEST, values)
        row = cursor.fetchone()
    if row is None:
        return None
    organization_id, name, user_id, key_id, membership_id, roles, key_unused, membership_unused, accepted = row
    user = User.from_db(connection.alias, ["id"], [UUID(str(user_id))])
    if key_unused:
        touch_key(UUID(str(key_id)))
    if membership_unused and (addressed or accepted):
        Membership.objects.filter(_unused("last_access"), pk=membership_id).update(last_access=timezone.now())
    return Access(
        organization=Organization.from_db(connection.alias, ["id", "name"], [UUID(str(organization_id)), name]),
        user=user,
        key_id=UUID(str(key_id)),
        granted=_granted(roles if isinstance(roles, str) else json.dumps(roles)),
        accepted=bool(accepted) or (addressed and consent.accept(membership_id, user)),
    )


def resolve_key(credentials: Credentials) -> ApiKey | None:
    """The key behind the credentials, with its user; None if it is gone, or its user may not act any more."""
    token = credentials.token
    shown = Q(pk=token.key_id, user=token.user_id) if token else Q(digest=credentials.digest)
    key = ApiKey.objects.select_related("user").filter(shown, user__is_active=True).first()
    if key is not None and (key.accessed is None or key.accessed < timezone.now() - TOUCH_INTERVAL):
        touch_key(key.pk)
    return key


def allows(actor: Actor, permission: Permission, organization: Organization) -> bool:
    """Whether the actor has the permission there now; commands and scheduled tasks may do everything."""
    if actor.user is None:
        return actor.source in consent.OPERATORS
    if actor.source == AuditSource.STAFF and actor.user.is_superuser:
        return actor.user.is_active
    membership = organization.memberships.filter(user=actor.user.pk, user__is_active=True).first()
    return membership is not None and permission in membership.granted


def touch_key(key_id: UUID) -> None:
    ApiKey.objects.filter(_unused("accessed"), pk=key_id).update(accessed=timezone.now())


def _unused(field: str) -> Q:
    """Once more, as others may have noted it since."""
    before: datetime = timezone.now() - TOUCH_INTERVAL
    return Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__lt": before})


def _value(key: UUID) -> UUID | str:
    return key if connection.features.has_native_uuid_field else key.hex


@lru_cache(maxsize=1000)
def _granted(roles: str) -> frozenset[Permission]:
    return permissions.granted(json.loads(roles))
