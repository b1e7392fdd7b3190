"""File names: treated as data, never as a path."""

import re
import unicodedata

from sourceimages.errors import InvalidName

MAX_LENGTH = 500  # characters; part headers are limited to 1024 bytes anyway
DEFAULT_NAME = {"", ".", ".."}  # results for names that consist of directories only
ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}
ESCAPE = re.compile("|".join(ESCAPED), re.IGNORECASE)
SEPARATOR = re.compile(r"[/\\]")


def clean_filename(name: str) -> str:
    """The name in Unicode normal form C. Raises InvalidName if it is empty, too long or has control characters."""
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise InvalidName("The file name is empty.")
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"The file name has {len(name)} characters; the limit is {MAX_LENGTH}.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidName("The file name must not contain control characters.")
    return name


def part_filename(text: str) -> str:
    """The file name in the header of a form part, without directories (RFC 7578, 4.2).

    Browsers escape three characters that forms can't send (HTML, multipart/form-data encoding algorithm).
    """
    return without_directories(ESCAPE.sub(lambda escape: ESCAPED[escape[0].upper()], text))


def without_directories(name: str) -> str:
    return SEPARATOR.split(name)[-1]


def or_default(name: str, format: str) -> str:
    """The name, or `image.<format>` if the name has only directories."""
    return f"image.{format}" if name in DEFAULT_NAME else name
