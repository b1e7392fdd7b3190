"""Operations: one function per user intention, each with its own transaction."""

from sourceimages.operations.add import UploadResult, add_images
from sourceimages.operations.copy import CopyResult, copy_by_hashes, copy_image, copy_images
from sourceimages.operations.delete import (
    delete_by_binary_hash,
    delete_image,
    expire_tombstone,
)
from sourceimages.operations.dominant_colors import extract_colors, files_without_colors, read_again, to_read_again
from sourceimages.operations.optimize import optimize
from sourceimages.operations.optimize import pending as waiting_to_be_optimized
from sourceimages.operations.restore import restore_by_id, restore_image
from sourceimages.operations.undo_optimize import Undone, optimized_files, undo_optimize
from sourceimages.operations.update import (
    change_dynamic_metadata,
    change_user_metadata,
    rename_image,
    replace_user_metadata,
    set_locked,
    set_protected,
    update_in_place,
)
from sourceimages.operations.versions import restore_version
from sourceimages.uploads.upload import Upload

__all__ = [
    "CopyResult",
    "Undone",
    "Upload",
    "UploadResult",
    "add_images",
    "change_dynamic_metadata",
    "change_user_metadata",
    "copy_by_hashes",
    "copy_image",
    "copy_images",
    "delete_by_binary_hash",
    "delete_image",
    "expire_tombstone",
    "extract_colors",
    "files_without_colors",
    "optimize",
    "optimized_files",
    "read_again",
    "rename_image",
    "replace_user_metadata",
    "restore_by_id",
    "restore_image",
    "restore_version",
    "set_locked",
    "set_protected",
    "to_read_again",
    "undo_optimize",
    "update_in_place",
    "waiting_to_be_optimized",
]
