"""The bytes, by key: local files or a bucket behind the same few verbs.

A key is written once, by one row, and never reused, so bytes are never changed in place. Errors of the providers
leave as StorageUnavailable and BytesMissing. No models here.
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
from sourceimages.storage.s3 import S3Storage

__all__ = [
    "BLOCK",
    "OWNER_MARK",
    "TRASH",
    "KeyParts",
    "LocalStorage",
    "S3Storage",
    "Storage",
    "StoredObject",
    "folder_now",
    "new_key",
    "originals",
    "parse_key",
    "translate_errors",
]
