"""Errors of the accounts app."""

from rokka.core.errors import Conflict, Forbidden, InvalidInput, InvalidToken, NotFound


class InvalidOrganizationName(InvalidInput):
    """The organization name is malformed: it must be 1-63 lowercase letters, digits or inner hyphens."""

    reason = "invalid_organization_name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Invalid organization name {name[:80]!r}. "
            "Use 1–63 lowercase letters, digits or hyphens, with no hyphen at either end."
        )


class OrganizationNameTaken(InvalidInput):
    """Another organization already has this name."""

    reason = "organization_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"An organization named {name!r} already exists. Choose another name.")


class NotOrganizationAdmin(Conflict):
    """The organization exists, and the caller is not one of its admins."""

    reason = "not_organization_admin"

    def __init__(self, name: str) -> None:
        super().__init__(f"An organization named {name!r} already exists, and you are not one of its admins.")


class OrganizationNotFound(NotFound):
    """No organization has this name."""

    reason = "organization_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Organization {name!r} not found.")


class InvalidOption(InvalidInput):
    """The option is unknown, or its value is invalid."""

    reason = "invalid_option"


class NotAMember(Forbidden):
    """The caller is not an active member of the organization."""

    reason = "not_a_member"


class RoleMissing(Forbidden):
    """None of the caller's roles grants the required permission."""

    reason = "role_missing"


class PublicUser(Forbidden):
    """The caller is a public user, which can't manage its account."""

    reason = "public_user"


class SignupDisabled(Forbidden):
    """Sign-up is disabled on this server."""

    reason = "signup_disabled"


class TokenNotRenewable(Forbidden):
    """The token can't be renewed, or the request asks for a longer lifetime or more addresses than it has."""

    reason = "token_not_renewable"


class KeyExpired(InvalidToken):
    """The API key, or the one of the token, has expired."""

    reason = "key_expired"


class IpNotAllowed(InvalidToken):
    """The API key, or the one of the token, can't be used from the caller's address."""

    reason = "ip_not_allowed"


class TokenNotAllowed(Forbidden):
    """Tokens can't manage API keys or give roles on this server (TOKENS_MANAGE_KEYS)."""

    reason = "token_not_allowed"


class LessRestricted(Forbidden):
    """A token of a restricted key, or a key made with one, asked for a key with weaker restrictions."""

    reason = "less_restricted"


class WouldLockOut(InvalidInput):
    """The change would lock out the key of this request or, by a staff user, of others; it was not confirmed.

    `details["problems"]` are texts that begin with the option.
    """

    reason = "would_lock_out"


class MfaRequired(InvalidToken):
    """The API key requires a second factor: get a token with a code."""

    reason = "mfa_required"


class MfaEnrollmentRequired(InvalidToken):
    """The API key requires a second factor, and its user has none yet."""

    reason = "mfa_enrollment_required"


class TotpRateLimited(InvalidToken):
    """Too many wrong codes. `details["retry_after"]` are seconds."""

    reason = "totp_rate_limited"


class TotpActive(Conflict):
    """The user already has an active second factor."""

    reason = "totp_active"


class TotpInvalid(InvalidToken):
    """The code of the second factor is wrong, or the user has no second factor."""

    reason = "totp_invalid"


class InvalidRoles(InvalidInput):
    """The list of roles is empty or contains an unknown role."""

    reason = "invalid_roles"


class MembershipNotFound(NotFound):
    """The user is not a member of the organization."""

    reason = "membership_not_found"


class MembershipNotAccepted(Forbidden):
    """The caller was added by another user and has not accepted the membership yet."""

    reason = "membership_not_accepted"


class UserNotFound(NotFound):
    """No user has this ID."""

    reason = "user_not_found"


class LastAdmin(Conflict):
    """The change would leave the organization without an active admin."""

    reason = "last_admin"


class KeyNotFound(NotFound):
    """No API key or signing key of the caller has this ID."""

    reason = "key_not_found"


class KeyInUse(Conflict):
    """The key is the one used for this request, or the last signing key of the organization."""

    reason = "key_in_use"


class TooManyKeys(InvalidInput):
    """The maximum number of keys is reached."""

    reason = "too_many_keys"
