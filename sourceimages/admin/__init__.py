"""The back-office of pictures."""

from sourceimages.admin import jobs, pictures, records, trash

__all__ = ["jobs", "pictures", "records", "trash"]
