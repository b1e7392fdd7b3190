"""The refusals of this app."""

from rokka.errors import Forbidden, Invalid, NotFound


class InvalidOrganizationName(Invalid):
    """Organization names are 1 to 63 of a-z, 0-9 and hyphens, without a hyphen at either end."""

    reason = "invalid_organization_name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is no organization name: 1 to 63 of a-z, 0-9 and hyphens, without a hyphen at either end."
        )


class OrganizationNameTaken(Invalid):
    """Another organization has this name."""

    reason = "organization_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already an organization called {name!r}.")


class OrganizationNotFound(NotFound):
    """No organization has this name."""

    reason = "organization_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no organization called {name!r}.")


class NotAMember(Forbidden):
    """The key belongs to somebody who is no active member of the organization."""

    reason = "not_a_member"


class RoleMissing(Forbidden):
    """None of the caller's roles allows this."""

    reason = "role_missing"
