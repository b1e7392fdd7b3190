"""What may be said about a picture, checked and brought into one form."""

from sourceimages.metadata.dynamic import dynamic_metadata
from sourceimages.metadata.user import merged, user_metadata

__all__ = ["dynamic_metadata", "merged", "user_metadata"]
