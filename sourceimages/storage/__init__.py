"""Storage of original files by key: local files or an S3 bucket behind the same interface.

A key is written once, by one row, and never reused; files are never changed in place. Provider errors are raised as
StorageUnavailable and OriginalMissing. No models here. Only `sourceimages.storage.s3` imports boto3.
"""

from sourceimages.storage.base import (
    BLOCK,
    OWNER_MARK,
    TRASH,
    KeyParts,
    Storage,
    StoredObject,
    new_key,
    originals,
    parse_key,
    translate_errors,
)
from sourceimages.storage.local import LocalStorage, folder_now

__all__ = [
    "BLOCK",
    "OWNER_MARK",
    "TRASH",
    "KeyParts",
    "LocalStorage",
    "Storage",
    "StoredObject",
    "folder_now",
    "new_key",
    "originals",
    "parse_key",
    "translate_errors",
]
