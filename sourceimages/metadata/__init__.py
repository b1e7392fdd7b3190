"""What may be said about a picture, checked and brought into one form."""

from sourceimages.metadata.dynamic import check_fit, dynamic_entry, dynamic_metadata, dynamic_name
from sourceimages.metadata.user import bare, combined, merged, user_metadata

__all__ = [
    "bare",
    "check_fit",
    "combined",
    "dynamic_entry",
    "dynamic_metadata",
    "dynamic_name",
    "merged",
    "user_metadata",
]
