"""Operations on organizations, memberships, users and keys. Each function runs in its own transaction."""

from organizations.operations.admin_changes import recent_admin_changes
from organizations.operations.key_effects import (
    KeyEffects,
    MembershipEffect,
    admins_before,
    effects_of,
    had_key,
    origins_of,
    undo_key,
    undo_membership,
)
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
from organizations.operations.second_factor import confirm_totp, remove_totp, set_up_totp, use_totp
from organizations.operations.signing_keys import add_signing_key, remove_signing_key, reveal_signing_key
from organizations.operations.users import (
    KeyOptions,
    NewUser,
    create_key,
    create_staff,
    create_user,
    delete_key,
    import_key,
    set_active,
    update_key,
)

__all__ = [
    "KeyEffects",
    "KeyOptions",
    "MembershipChange",
    "MembershipEffect",
    "NewMember",
    "NewOrganization",
    "NewUser",
    "add_member_with_new_user",
    "add_signing_key",
    "admins_before",
    "confirm_totp",
    "create_key",
    "create_organization",
    "create_organization_with_admin",
    "create_staff",
    "create_user",
    "delete_key",
    "effects_of",
    "had_key",
    "import_key",
    "is_admin",
    "origins_of",
    "recent_admin_changes",
    "remove_member",
    "remove_signing_key",
    "remove_totp",
    "reveal_signing_key",
    "set_active",
    "set_roles",
    "set_up_totp",
    "undo_key",
    "undo_membership",
    "update_key",
    "update_options",
    "update_organization",
    "update_profile",
    "use_totp",
]
