"""The errors of rendering. Messages name the value, the place or the limit, so that the caller knows what to change."""

from rokka.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooManyRequests,
    Unavailable,
    Unprocessable,
)


class InvalidRenderURL(InvalidInput):
    """A render URL does not follow the grammar."""

    reason = "invalid_render_url"


class InvalidExpression(InvalidInput):
    """An expression can't be parsed or evaluated."""

    reason = "invalid_expression"


class InvalidOperation(InvalidInput):
    """An operation or one of its options is unknown, missing or out of range."""

    reason = "invalid_operation"


class InvalidStackOption(InvalidInput):
    """A stack option is unknown or out of range."""

    reason = "invalid_stack_option"


class InvalidStack(InvalidInput):
    """A stack has an invalid name or body, or parts that can't be combined."""

    reason = "invalid_stack"


class OperationUnavailable(InvalidInput):
    """This server does not support the operation or one of its options."""

    reason = "feature_unavailable"


class RenderTooLarge(InvalidInput):
    """A render exceeds a limit on pixels, frames, operations or nesting."""

    reason = "render_too_large"


class StackNotFound(NotFound):
    """The organization has no stack of this name."""

    reason = "stack_not_found"


class StackExists(Conflict):
    """A stack of this name exists, and the request does not overwrite it."""

    reason = "stack_exists"


class RemoteImageUnavailable(NotFound):
    """The remote image that a URL names is not allowed, can't be fetched, or was deleted."""

    reason = "remote_image_unavailable"


class FormatUnavailable(NotFound):
    """This server can't render to this format, or not from this source."""

    reason = "format_unavailable"


class InvalidSignature(Forbidden):
    """The URL requires a signature, and has none, a wrong one or an expired one."""

    reason = "invalid_signature"


class UnreadableSource(Unprocessable):
    """The source image can't be decoded."""

    reason = "unreadable_source"


class RenderQueueFull(TooManyRequests):
    """Too many renders are waiting. Cached results are served nevertheless."""

    reason = "render_queue_full"


class CacheUnavailable(Unavailable):
    """The render cache can't be changed, for example because its disk is full."""

    reason = "cache_unavailable"


class RenderTimeout(Unavailable):
    """The render did not finish within the time a request waits for it."""

    reason = "render_timeout"


class RenderTooSlow(RenderTimeout):
    """The render was stopped by the clock, within its limit of CPU time, because the machine is busy."""
