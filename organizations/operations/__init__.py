"""Operations on organizations, memberships, users and keys. Each function runs in its own transaction."""

from organizations.operations.memberships import (
    MembershipChange,
    NewMember,
    add_member_with_new_user,
    remove_member,
    set_roles,
)
from organizations.operations.organizations import (
    NewOrganization,
    create_organization,
    create_organization_with_admin,
    is_admin,
    update_options,
    update_organization,
    update_profile,
)
from organizations.operations.signing_keys import add_signing_key, remove_signing_key, reveal_signing_key
from organizations.operations.users import (
    NewUser,
    create_key,
    create_staff,
    create_user,
    delete_key,
    import_key,
    set_active,
)

__all__ = [
    "MembershipChange",
    "NewMember",
    "NewOrganization",
    "NewUser",
    "add_member_with_new_user",
    "add_signing_key",
    "create_key",
    "create_organization",
    "create_organization_with_admin",
    "create_staff",
    "create_user",
    "delete_key",
    "import_key",
    "is_admin",
    "remove_member",
    "remove_signing_key",
    "reveal_signing_key",
    "set_active",
    "set_roles",
    "update_options",
    "update_organization",
    "update_profile",
]
