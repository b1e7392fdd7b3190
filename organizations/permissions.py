"""Roles and permissions. A membership has roles, a role grants permissions, an endpoint requires permissions."""

from collections.abc import Iterable
from enum import StrEnum


class Requirement(StrEnum):
    """What an endpoint requires that does not depend on an organization."""

    ANONYMOUS = "nothing"
    CREDENTIALS = "credentials"  # a key or a token
    ACCOUNT = "account"  # credentials of a user that is not public, or a trusted key
    NOT_PUBLIC = "not public"  # credentials of a user that is not public


class Permission(StrEnum):
    """A permission in an organization."""

    ORGANIZATION_READ_BASIC = "organization.read_basic"
    ORGANIZATION_READ = "organization.read"
    ORGANIZATION_WRITE = "organization.write"
    MEMBERSHIPS_READ = "memberships.read"
    MEMBERSHIPS_WRITE = "memberships.write"
    STATS_READ = "stats.read"
    BILLING_READ = "billing.read"
    AUDIT_READ = "audit.read"
    URLS_SIGN = "urls.sign"
    STACKS_READ = "stacks.read"
    STACKS_WRITE = "stacks.write"
    IMAGES_UPLOAD = "images.upload"
    IMAGES_READ = "images.read"
    IMAGES_WRITE = "images.write"
    IMAGES_COPY_FROM = "images.copy_from"
    IMAGES_COPY_TO = "images.copy_to"
    IMAGES_DELETE_ALL = "images.delete_all"
    IMAGES_UNLOCK = "images.unlock"
    ORIGINALS_DOWNLOAD = "originals.download"
    PROTECTED_ORIGINALS_DOWNLOAD = "protected_originals.download"


class Role(StrEnum):
    """A role of a membership, as spelled in the API."""

    ADMIN = "admin"
    ADMIN_READ = "admin:read"
    WRITE = "write"
    READ = "read"
    IMAGES_WRITE = "sourceimages:write"
    IMAGES_READ = "sourceimages:read"
    PROTECTED_DOWNLOAD = "sourceimages:download:protected"
    UNLOCK = "sourceimages:unlock"
    UPLOAD = "upload"
    BILLING_READ = "billing:read"


P = Permission

MEMBER = frozenset({P.ORGANIZATION_READ_BASIC})
SEE_IMAGES = frozenset({P.IMAGES_READ, P.ORIGINALS_DOWNLOAD, P.IMAGES_COPY_FROM})
CHANGE_IMAGES = frozenset({P.IMAGES_UPLOAD, P.IMAGES_WRITE, P.IMAGES_COPY_TO})
READ = SEE_IMAGES | {
    P.PROTECTED_ORIGINALS_DOWNLOAD,
    P.ORGANIZATION_READ,
    P.STACKS_READ,
    P.STATS_READ,
    P.URLS_SIGN,
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.ADMIN_READ: MEMBER | READ | {P.MEMBERSHIPS_READ},
    Role.WRITE: MEMBER | READ | CHANGE_IMAGES | {P.STACKS_WRITE, P.BILLING_READ},
    Role.READ: MEMBER | READ,
    Role.IMAGES_WRITE: MEMBER | SEE_IMAGES | CHANGE_IMAGES,
    Role.IMAGES_READ: MEMBER | SEE_IMAGES,
    Role.PROTECTED_DOWNLOAD: MEMBER | {P.PROTECTED_ORIGINALS_DOWNLOAD, P.URLS_SIGN},
    Role.UNLOCK: MEMBER | {P.IMAGES_UNLOCK},
    Role.UPLOAD: MEMBER | {P.IMAGES_UPLOAD},
    Role.BILLING_READ: MEMBER | {P.BILLING_READ},
}


ROLE_NAMES = frozenset(role.value for role in Role)

# Keys with these roles are embedded in web pages and apps, so a user who has such a role in all its organizations is
# public and can't manage its account.
PUBLIC_ROLES = frozenset({Role.READ, Role.UPLOAD, Role.IMAGES_READ})


def has_public_role(roles: Iterable[str]) -> bool:
    """Return whether one of the roles is public."""
    return not PUBLIC_ROLES.isdisjoint(roles)


def granted(roles: Iterable[str]) -> frozenset[Permission]:
    """Return the union of the permissions of these roles. Unknown role names are ignored."""
    return frozenset().union(*(ROLE_PERMISSIONS[Role(name)] for name in roles if name in ROLE_NAMES))


def roles_granting(*needed: Permission) -> list[str]:
    """Return the roles that grant at least one of these permissions."""
    return [role.value for role, grants in ROLE_PERMISSIONS.items() if not grants.isdisjoint(needed)]
