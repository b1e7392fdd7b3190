"""The admin of stacks, and what the render engine adds to that of images."""

from rendering.admin import source_images, stacks

__all__ = ["source_images", "stacks"]
