"""Validation of user input before it is saved: PostgreSQL fails on text that is too long or contains NUL."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from rokka.core.errors import InvalidInput

MAX_COMMENT_LENGTH, MAX_DISPLAY_NAME_LENGTH, MAX_EMAIL_LENGTH = 255, 255, 254  # characters, as in the columns


def validate_text(name: str, text: str, max_length: int) -> str:
    """Return the text unchanged. Raises InvalidInput naming the field if it is too long or contains NUL."""
    if "\0" in text:
        raise InvalidInput(f"{name}: must not contain NUL characters.")
    if len(text) > max_length:
        raise InvalidInput(f"{name}: must have at most {max_length} characters.")
    return text


def validate_comment(comment: str) -> str:
    return validate_text("comment", comment, MAX_COMMENT_LENGTH)


def clean_email(email: str, field: str = "email") -> str:
    """Return the email unchanged. Raises InvalidInput naming the field if it is malformed."""
    try:
        validate_email(validate_text(field, email, MAX_EMAIL_LENGTH))
    except ValidationError as error:
        raise InvalidInput(f"{field}: {email[:80]!r} is not a valid email address.") from error
    return email
