"""Names of files: data, kept as sent, never a path."""

import unicodedata

from sourceimages.errors import InvalidName

MAX_LENGTH = 500  # characters; a part header has to fit into 1024 bytes anyway


def clean(name: str) -> str:
    """The name in Unicode normal form C. InvalidName if it is empty, too long or holds control characters."""
    name = unicodedata.normalize("NFC", name)
    if not name:
        raise InvalidName("The file has an empty name.")
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"The file name has {len(name)} characters; the limit is {MAX_LENGTH}.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidName("The file name contains control characters.")
    return name
