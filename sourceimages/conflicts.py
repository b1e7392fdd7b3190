"""What transactions on the same images conflict by. The decorator that runs them again is in rokka.core.database."""

from django.db.models import ForeignKey

from sourceimages.models import SourceImage


def _reference(name: str) -> ForeignKey:
    field = SourceImage._meta.get_field(name)
    assert isinstance(field, ForeignKey)  # noqa: S101 (names of this module)
    return field


# Another transaction has made the same file, the same image or a short hash for it.
IMAGE_CONSTRAINTS = (
    "file_binary_hash_unique",
    "image_active_hash_unique",
    "short_hash_unique",
    "short_hash_once_per_hash",
)
FILE_REFERENCE = _reference("file")  # the file of an image that is being made has been removed, or the reverse
TOMBSTONE_REFERENCE = _reference("tombstone")  # likewise the deletion that an image is being moved to
