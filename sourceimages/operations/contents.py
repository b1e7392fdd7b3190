"""Replacing the file of a row and of its images."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from django.utils import timezone

from sourceimages.models import StoredFile


@dataclass(frozen=True, slots=True)
class Content:
    """A file in the storage, and the fields that describe it."""

    key: str
    size: int
    content_hash: str
    format: str
    mimetype: str

    @classmethod
    def of(cls, row: StoredFile) -> Self:
        return cls(row.key, row.size, row.content_hash, row.format, row.mimetype)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def replace_content(row: StoredFile, new: Content) -> int:
    """Point the row and its images, all locked, to another file; return the change of its size in bytes.

    The caller updates the counters, last in its transaction, and discards the old file after the commit.
    """
    size_change = new.size - row.size
    row.key, row.size, row.content_hash = new.key, new.size, new.content_hash
    row.format, row.mimetype = new.format, new.mimetype
    row.content_since, row.verified_at, row.damage = timezone.now(), None, ""
    row.save()
    row.images.update(size=row.size, format=row.format, mimetype=row.mimetype)
    return size_change
