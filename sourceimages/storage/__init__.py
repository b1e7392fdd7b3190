"""The bytes, by key: local files or a bucket behind the same few verbs.

A key is written once, by one row, and never reused, so bytes are never changed in place. Errors of the providers
leave as StorageUnavailable and BytesMissing. No models here.
"""

from sourceimages.storage.base import BLOCK, Held, Storage, new_key, originals, translated
from sourceimages.storage.local import LocalStorage
from sourceimages.storage.s3 import S3Storage

__all__ = ["BLOCK", "Held", "LocalStorage", "S3Storage", "Storage", "new_key", "originals", "translated"]
