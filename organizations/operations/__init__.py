"""One function for each thing somebody may ask for; each owns its transaction."""

from organizations.operations.memberships import (
    NewMember,
    Outcome,
    add_member_with_new_user,
    remove_member,
    set_roles,
)
from organizations.operations.organizations import (
    NewOrganization,
    change_options,
    change_organization,
    create_organization,
    describe_organization,
    found_organization,
    is_admin,
)
from organizations.operations.signing_keys import add_signing_key, remove_signing_key, show_signing_key
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
    "NewMember",
    "NewOrganization",
    "NewUser",
    "Outcome",
    "add_member_with_new_user",
    "add_signing_key",
    "change_options",
    "change_organization",
    "create_key",
    "create_organization",
    "create_staff",
    "create_user",
    "delete_key",
    "describe_organization",
    "found_organization",
    "import_key",
    "is_admin",
    "remove_member",
    "remove_signing_key",
    "set_active",
    "set_roles",
    "show_signing_key",
]
