"""Constraints by which transactions on the same images conflict; see rokka.core.database.retry_on_conflict."""

from django.db.models import ForeignKey

from sourceimages.models import SourceImage


def _reference(name: str) -> ForeignKey:
    field = SourceImage._meta.get_field(name)
    assert isinstance(field, ForeignKey)  # noqa: S101 (names of this module)
    return field


# Another transaction has created the same file, the same image or a short hash for it.
IMAGE_CONSTRAINTS = (
    "file_binary_hash_unique",
    "image_active_hash_unique",
    "short_hash_unique",
    "short_hash_once_per_hash",
)
FILE_REFERENCE = _reference("file")  # a file was deleted while an image that refers to it was created, or vice versa
TOMBSTONE_REFERENCE = _reference("tombstone")  # the same for a deletion and an image that is moved to the trash
