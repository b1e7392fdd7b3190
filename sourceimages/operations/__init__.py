"""One function for each thing somebody may ask for; each owns its transaction."""

from sourceimages.operations.add import Added, add_images
from sourceimages.operations.copy import Copied, Outcome, copy_image, copy_images, copy_named
from sourceimages.operations.delete import (
    delete_image,
    delete_images_with_bytes,
    expire_tombstone,
)
from sourceimages.operations.dominant_colors import find_colours, read_again, to_read_again, without_colours
from sourceimages.operations.optimize import optimize
from sourceimages.operations.optimize import waiting as waiting_to_be_optimized
from sourceimages.operations.restore import Restored, restore_exactly, restore_image
from sourceimages.operations.undo_optimize import Undone, optimized_files, undo_optimize
from sourceimages.operations.update import (
    Derived,
    change_dynamic_metadata,
    change_user_metadata,
    keep_hash,
    rename_image,
    replace_user_metadata,
    set_locked,
    set_protected,
)
from sourceimages.operations.versions import restore_version
from sourceimages.uploads.upload import Upload

__all__ = [
    "Added",
    "Copied",
    "Derived",
    "Outcome",
    "Restored",
    "Undone",
    "Upload",
    "add_images",
    "change_dynamic_metadata",
    "change_user_metadata",
    "copy_image",
    "copy_images",
    "copy_named",
    "delete_image",
    "delete_images_with_bytes",
    "expire_tombstone",
    "find_colours",
    "keep_hash",
    "optimize",
    "optimized_files",
    "read_again",
    "rename_image",
    "replace_user_metadata",
    "restore_exactly",
    "restore_image",
    "restore_version",
    "set_locked",
    "set_protected",
    "to_read_again",
    "undo_optimize",
    "waiting_to_be_optimized",
    "without_colours",
]
