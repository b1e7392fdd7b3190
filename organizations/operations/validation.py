"""What people type, before it meets a column: too long or with a NUL, PostgreSQL would fail instead of refuse."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from rokka.core.errors import InvalidInput

MAX_COMMENT_LENGTH, MAX_DISPLAY_NAME_LENGTH, MAX_EMAIL_LENGTH = 255, 255, 254  # characters, as many as the columns take


def validate_text(name: str, text: str, most: int) -> str:
    """Raises Invalid naming what it was."""
    if "\0" in text:
        raise InvalidInput(f"{name}: it contains a NUL character.")
    if len(text) > most:
        raise InvalidInput(f"{name}: it has more than {most} characters.")
    return text


def validate_comment(comment: str) -> str:
    return validate_text("comment", comment, MAX_COMMENT_LENGTH)


def clean_email(email: str) -> str:
    try:
        validate_email(validate_text("email", email, MAX_EMAIL_LENGTH))
    except ValidationError as error:
        raise InvalidInput(f"{email[:80]!r} is no e-mail address.") from error
    return email
