"""Resolution of credentials to users, keys and permissions.

Access to an organization is resolved on every request, so it is one handwritten query: building it with the ORM takes
ten times as long as running it (docs/explanation/performance.md).
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
from organizations.auth.restrictions import check_usable
from organizations.auth.second_factor import refuse_without_code
from organizations.auth.tokens import Token
from organizations.models import ApiKey, AuditSource, Membership, Organization, User
from organizations.permissions import Permission
from rokka.core.prepared import prepared_cursor

TOUCH_INTERVAL = timedelta(hours=24)  # how precise `accessed` and `last_access` are


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request: the digest of a key, or a token that was issued for a key.

    `address` is the client's, empty if unknown. `without_code`: also valid if the key requires a second factor.
    """

    digest: str = ""
    token: Token | None = None
    address: str = ""
    without_code: bool = False

    def code_missing(self, requires_mfa: bool) -> bool:
        """Return whether the key requires a second factor, and these credentials are no token issued with a code."""
        return requires_mfa and not (self.token and self.token.mfa)


@dataclass(frozen=True, slots=True)
class Access:
    """The access of an active member to an organization. Only some fields of organization and user are loaded.

    `accepted` is False for a membership that the user has not accepted, `trusted` is about the key.
    """

    organization: Organization
    user: User
    key_id: UUID
    granted: frozenset[Permission]
    accepted: bool
    trusted: bool


SQL = """
    SELECT o.id, o.name, u.id, k.id, m.id, m.roles,
           k.accessed IS NULL OR k.accessed < %s, m.last_access IS NULL OR m.last_access < %s,
           m.accepted_at IS NOT NULL, k.expires IS NOT NULL AND k.expires <= %s,
           k.allowed_ips, k.trusted, k.requires_mfa
    FROM organizations_apikey k
    JOIN organizations_user u ON u.id = k.user_id
    JOIN organizations_membership m ON m.user_id = u.id
    JOIN organizations_organization o ON o.id = m.organization_id
    WHERE o.name = %s AND m.active AND u.is_active AND
"""
BY_DIGEST = SQL + "k.digest = %s"
BY_ID = SQL + "k.id = %s AND u.id = %s"


def resolve_access(credentials: Credentials, name: str, *, addressed: bool = True) -> Access | None:
    """Return the caller's access to the organization of this name, or None if the caller has no access.

    With `addressed`, the request is one to this organization: it accepts a membership that another user created.
    Raises KeyExpired, IpNotAllowed, MfaRequired, MfaEnrollmentRequired.
    """
    now = timezone.now()
    stale, current = map(connection.ops.adapt_datetimefield_value, (now - TOUCH_INTERVAL, now))
    values: list[Any] = [stale, stale, current, name]
    if credentials.token:
        values += [_value(credentials.token.key_id), _value(credentials.token.user_id)]
    else:
        values += [credentials.digest]
    with prepared_cursor() as cursor:
        cursor.execute(BY_ID if credentials.token else BY_DIGEST, values)
        row = cursor.fetchone()
    if row is None:
        return None
    organization_id, name, user_id, key_id, membership_id, roles, key_stale, membership_stale, accepted, *key = row
    expired, allowed_ips, trusted, requires_mfa = key
    check_usable(expired=expired, allowed_ips=_json(allowed_ips), address=credentials.address)
    if credentials.code_missing(bool(requires_mfa)):
        refuse_without_code(UUID(str(user_id)))
    user = User.from_db(connection.alias, ["id"], [UUID(str(user_id))])
    if key_stale:
        touch_key(UUID(str(key_id)))
    if membership_stale and (addressed or accepted):
        Membership.objects.filter(_stale("last_access"), pk=membership_id).update(last_access=timezone.now())
    return Access(
        organization=Organization.from_db(connection.alias, ["id", "name"], [UUID(str(organization_id)), name]),
        user=user,
        key_id=UUID(str(key_id)),
        granted=_granted(_json(roles)),
        accepted=bool(accepted) or (addressed and consent.accept(membership_id, user)),
        trusted=bool(trusted),
    )


def resolve_key(credentials: Credentials) -> ApiKey | None:
    """Return the key of the credentials, with its user, or None if it was deleted or the user is inactive.

    Raises KeyExpired, IpNotAllowed, MfaRequired, MfaEnrollmentRequired.
    """
    token = credentials.token
    matches = Q(pk=token.key_id, user=token.user_id) if token else Q(digest=credentials.digest)
    key = ApiKey.objects.select_related("user").filter(matches, user__is_active=True).first()
    if key is None:
        return None
    check_usable(
        expired=key.expires is not None and key.expires <= timezone.now(),
        allowed_ips=_json(key.allowed_ips),
        address=credentials.address,
    )
    if credentials.code_missing(key.requires_mfa) and not credentials.without_code:
        refuse_without_code(key.user_id)
    if key.accessed is None or key.accessed < timezone.now() - TOUCH_INTERVAL:
        touch_key(key.pk)
    return key


def allows(actor: Actor, permission: Permission, organization: Organization) -> bool:
    """Return whether the actor has the permission in the organization now. Commands and scheduled tasks have all."""
    if actor.user is None:
        return actor.source in consent.OPERATORS
    if actor.source == AuditSource.STAFF and actor.user.is_superuser:
        return actor.user.is_active
    membership = organization.memberships.filter(user=actor.user.pk, user__is_active=True).first()
    return membership is not None and permission in membership.granted


def touch_key(key_id: UUID) -> None:
    ApiKey.objects.filter(_stale("accessed"), pk=key_id).update(accessed=timezone.now())


def _stale(field: str) -> Q:
    """Repeat the check in the UPDATE: a concurrent request may have updated the field."""
    before: datetime = timezone.now() - TOUCH_INTERVAL
    return Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__lt": before})


def _value(key: UUID) -> UUID | str:
    return key if connection.features.has_native_uuid_field else key.hex


def _json(value: Any) -> str:
    """A JSON column as text: databases and the ORM return text or the parsed value. NULL is empty."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


@lru_cache(maxsize=1000)
def _granted(roles: str) -> frozenset[Permission]:
    return permissions.granted(json.loads(roles))
