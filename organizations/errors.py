"""The refusals of this app."""

from rokka.core.errors import Conflict, Forbidden, InvalidInput, NotFound


class InvalidOrganizationName(InvalidInput):
    """Organization names are 1 to 63 of a-z, 0-9 and hyphens, without a hyphen at either end."""

    reason = "invalid_organization_name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is no organization name: 1 to 63 of a-z, 0-9 and hyphens, without a hyphen at either end."
        )


class OrganizationNameTaken(InvalidInput):
    """Another organization has this name, and a new one was asked for."""

    reason = "organization_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already an organization called {name!r}.")


class NotOrganizationAdmin(Conflict):
    """An organization of this name exists, and the caller is no admin of it."""

    reason = "not_organization_admin"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already an organization called {name!r}, and you are no admin of it.")


class OrganizationNotFound(NotFound):
    """No organization has this name."""

    reason = "organization_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no organization called {name!r}.")


class InvalidOption(InvalidInput):
    """An option of an organization that is unknown, or a value that it cannot have."""

    reason = "invalid_option"


class NotAMember(Forbidden):
    """The key belongs to somebody who is no active member of the organization."""

    reason = "not_a_member"


class RoleMissing(Forbidden):
    """None of the caller's roles allows this."""

    reason = "role_missing"


class PublicUser(Forbidden):
    """The caller's key is meant to be public, so it cannot manage the account."""

    reason = "public_user"


class SignupDisabled(Forbidden):
    """Nobody can sign up at this server by themselves."""

    reason = "signup_disabled"


class TokenNotRenewable(Forbidden):
    """The token may not fetch its successor, or not one that is worth more than itself."""

    reason = "token_not_renewable"


class InvalidRoles(InvalidInput):
    """No role, or a name that is none."""

    reason = "invalid_roles"


class MembershipNotFound(NotFound):
    """No such user is a member of the organization."""

    reason = "membership_not_found"


class MembershipNotAccepted(Forbidden):
    """Another user made the caller a member, and the caller has not accepted that."""

    reason = "membership_not_accepted"


class UserNotFound(NotFound):
    """There is no such user."""

    reason = "user_not_found"


class LastAdmin(Conflict):
    """The organization would be left without an active admin."""

    reason = "last_admin"


class KeyNotFound(NotFound):
    """The caller has no such key."""

    reason = "key_not_found"


class KeyInUse(Conflict):
    """The key is the one that the request itself was made with, or the last of its kind."""

    reason = "key_in_use"


class TooManyKeys(InvalidInput):
    """The limit of keys is reached."""

    reason = "too_many_keys"
