"""Base classes of errors. They have a message for the caller; rokka.core.http maps them to HTTP statuses."""

from typing import Any, ClassVar


class DomainError(Exception):
    """An error with a stable, machine-readable `reason`. The message can change, the reason can't."""

    reason: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(DomainError):
    """The request is invalid."""

    reason = "invalid"


class TooLarge(DomainError):
    """The request exceeds a size limit of this server."""

    reason = "too_large"


class NotFound(DomainError):
    """The object does not exist, or the caller has no access to it."""

    reason = "not_found"


class Forbidden(DomainError):
    """The caller is authenticated but has no permission."""

    reason = "forbidden"


class Unauthenticated(DomainError):
    """The caller's credentials are missing or invalid."""

    reason = "invalid_authentication"


class InvalidToken(Unauthenticated):
    """The token is malformed, expired or used from another address, or its API key was deleted."""

    reason = "invalid_token"


class TooManyRequests(DomainError):
    """A rate limit is exceeded. The caller has to wait `seconds`."""

    reason = "too_many_requests"

    def __init__(self, message: str, *, seconds: int, limit: int) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.limit = limit


class FeatureUnavailable(Forbidden):
    """This server does not support the feature."""

    reason = "feature_unavailable"


class Conflict(DomainError):
    """The request conflicts with the current state."""

    reason = "conflict"


class PreconditionFailed(DomainError):
    """A precondition of the request does not hold."""

    reason = "precondition_failed"


class Locked(DomainError):
    """The object is locked against changes."""

    reason = "locked"


class Unprocessable(DomainError):
    """The request is valid, but the content it refers to can't be processed."""

    reason = "unprocessable"


class Unavailable(DomainError):
    """The database, the storage or another dependency is unavailable. Try again after `retry_seconds`."""

    reason = "unavailable"
    retry_seconds: ClassVar[int] = 5
