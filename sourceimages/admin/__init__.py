"""The admin of images."""

from sourceimages.admin import jobs, raw_tables, source_images, trash

__all__ = ["jobs", "raw_tables", "source_images", "trash"]
