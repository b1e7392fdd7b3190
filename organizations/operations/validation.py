"""What people type, before it meets a column: too long or with a NUL, PostgreSQL would fail instead of refuse."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from rokka.core.errors import Invalid

COMMENT, DISPLAY_NAME, EMAIL = 255, 255, 254  # characters, as many as the columns take


def checked_text(name: str, text: str, most: int) -> str:
    """Raises Invalid naming what it was."""
    if "\0" in text:
        raise Invalid(f"{name}: it contains a NUL character.")
    if len(text) > most:
        raise Invalid(f"{name}: it has more than {most} characters.")
    return text


def checked_comment(comment: str) -> str:
    return checked_text("comment", comment, COMMENT)


def checked_email(email: str) -> str:
    try:
        validate_email(checked_text("email", email, EMAIL))
    except ValidationError as error:
        raise Invalid(f"{email[:80]!r} is no e-mail address.") from error
    return email
