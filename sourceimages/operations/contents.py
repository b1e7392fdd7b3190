"""Giving a row, and the images that show it, another file than the one they had."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from django.utils import timezone

from sourceimages.models import StoredFile


@dataclass(frozen=True, slots=True)
class Content:
    """A file under a key, and what its row says of it."""

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
    """The row and its images name another file; both are locked. Answers by how many bytes it is larger.

    The caller tells the counters, last in its transaction, and puts the old file aside after it.
    """
    more = new.size - row.size
    row.key, row.size, row.content_hash = new.key, new.size, new.content_hash
    row.format, row.mimetype = new.format, new.mimetype
    row.content_since, row.verified_at, row.damage = timezone.now(), None, ""  # of the file that it was
    row.save()
    row.images.update(size=row.size, format=row.format, mimetype=row.mimetype)
    return more
