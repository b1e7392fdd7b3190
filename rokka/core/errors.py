"""What may be refused, in kinds. Errors speak to the caller and know no HTTP; rokka.core.http answers by kind."""

from typing import Any, ClassVar


class DomainError(Exception):
    """A refusal with a stable machine-readable `reason`; the sentence may change, the reason does not."""

    reason: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(DomainError):
    """What was sent cannot be used."""

    reason = "invalid"


class TooLarge(DomainError):
    """What was sent is larger than a limit of this server."""

    reason = "too_large"


class NotFound(DomainError):
    """There is no such thing, or none that the caller may know of."""

    reason = "not_found"


class Forbidden(DomainError):
    """The caller is known, and may not."""

    reason = "forbidden"


class Unauthenticated(DomainError):
    """The caller's credentials are missing or invalid."""

    reason = "invalid_authentication"


class InvalidToken(Unauthenticated):
    """The caller's token is damaged, expired, used from elsewhere, or its key is gone."""

    reason = "invalid_token"


class TooManyRequests(DomainError):
    """The caller has to wait `seconds`."""

    reason = "too_many_requests"

    def __init__(self, message: str, *, seconds: int, limit: int) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.limit = limit


class FeatureUnavailable(Forbidden):
    """There is nothing behind this feature on this server."""

    reason = "feature_unavailable"


class Conflict(DomainError):
    """It contradicts what exists."""

    reason = "conflict"


class PreconditionFailed(DomainError):
    """The caller made a condition that does not hold."""

    reason = "precondition_failed"


class Locked(DomainError):
    """Somebody has locked it against changes."""

    reason = "locked"


class Unavailable(DomainError):
    """Something this server depends on does not answer; trying again later may help."""

    reason = "unavailable"
