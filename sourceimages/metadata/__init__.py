"""Validation and normalization of user and dynamic metadata."""

from sourceimages.metadata.dynamic import check_bounds, dynamic_entry, dynamic_metadata, dynamic_name
from sourceimages.metadata.user import apply_changes, field_name, overlay, user_metadata

__all__ = [
    "apply_changes",
    "check_bounds",
    "dynamic_entry",
    "dynamic_metadata",
    "dynamic_name",
    "field_name",
    "overlay",
    "user_metadata",
]
