"""Operations on stacks and on the cache of renders. One transaction each; the audit log records what they change."""

from rendering.operations.stacks import (
    CopiedStacks,
    clear_cache,
    copy_stacks,
    delete_old_previews,
    delete_stack,
    get_stack,
    save_stack,
    to_copy,
)

__all__ = [
    "CopiedStacks",
    "clear_cache",
    "copy_stacks",
    "delete_old_previews",
    "delete_stack",
    "get_stack",
    "save_stack",
    "to_copy",
]
