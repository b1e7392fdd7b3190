"""What may be said about a picture, checked and brought into one form."""

from sourceimages.metadata.dynamic import dynamic_metadata
from sourceimages.metadata.user import bare, combined, merged, user_metadata

__all__ = ["bare", "combined", "dynamic_metadata", "merged", "user_metadata"]
