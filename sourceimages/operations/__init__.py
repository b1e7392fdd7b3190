"""One function for each thing somebody may ask for; each owns its transaction."""

from sourceimages.operations.add import Added, Upload, add_images

__all__ = ["Added", "Upload", "add_images"]
