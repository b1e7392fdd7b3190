"""Bulk actions, one class in one file. docs/contributing/add-a-bulk-action.md shows how to add one."""

from importlib import import_module
from pkgutil import iter_modules

from sourceimages.jobs.bulk_actions.base import BulkAction, BulkActionForm, Scope
from sourceimages.jobs.registry import KINDS

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")  # each registers its class

# By name, in the order of the admin's menus: alphabetical, with destructive actions at the end.
BULK_ACTIONS: dict[str, BulkAction] = {
    kind.name: kind
    for kind in sorted(
        (kind for kind in KINDS.values() if isinstance(kind, BulkAction)),
        key=lambda action: (action.destructive, action.label),
    )
}

__all__ = ["BULK_ACTIONS", "BulkAction", "BulkActionForm", "Scope"]
