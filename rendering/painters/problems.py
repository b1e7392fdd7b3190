"""Why a render is refused. Reasons are those of `rendering.errors`, which this process can't import."""

import re

NAMED = re.compile(r"^\s*\w+: |'[^']*'|\"[^\"]*\"|\S*/\S*")  # names of functions and files
UNSPECIFIC = re.compile(r"\b(unable to|load error|cannot identify)\b", re.IGNORECASE)


class RenderError(Exception):
    """A render that is refused, with a message for the caller."""

    reason = "server_error"


class UnreadableSource(RenderError):
    reason = "unreadable_source"


class TooLarge(RenderError):
    reason = "render_too_large"


class FormatUnavailable(RenderError):
    reason = "format_unavailable"


class FeatureUnavailable(RenderError):
    reason = "feature_unavailable"


class InvalidOperation(RenderError):
    reason = "invalid_operation"


class InvalidOption(RenderError):
    """A stack option that does not suit the source."""

    reason = "invalid_stack_option"


def check_pixels(width: float, height: float, limit: int, *, frames: int = 1, hint: str = "Ask for less.") -> None:
    """Raises TooLarge if the image, or all frames together, exceed the limit."""
    if width * height * frames > limit:
        shown = f"{frames} frames of {width:.0f} × {height:.0f}" if frames > 1 else f"{width:.0f} × {height:.0f}"
        raise TooLarge(
            f"{shown} is {width * height * frames / 1e6:.4g} megapixels; the limit is {limit / 1e6:g}. {hint}"
        )


def describe(error: Exception) -> str:
    """The cause of an error of a library in a few words, without paths."""
    lines = [NAMED.sub("", line).strip(" .") for line in str(error).splitlines()]
    cause = next((line for line in lines if line and not UNSPECIFIC.search(line)), "")
    printable = "".join(character for character in cause if character.isprintable())
    return printable[:120] or "it is damaged, or not of its format"
