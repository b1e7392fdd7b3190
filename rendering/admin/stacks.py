"""The admin of stacks: their content, and deleting them."""

import json
from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from organizations.admin.base import ActionAdmin, row_action
from organizations.audit import Actor
from organizations.permissions import Permission
from rendering import operations
from rendering.models import Stack


@admin.register(Stack)
class StackAdmin(ActionAdmin):
    permission = Permission.STACKS_READ
    list_display = ("name", "organization", "operation_names", "protected", "created", "modified")
    list_select_related = ("organization",)
    list_filter = ("protected",)
    search_fields = ("name", "=organization__name")
    search_help_text = "Part of a name, or an organization"
    ordering = ("organization__name", "name")
    actions = ("purge_renders", "delete_stack")
    fields = (
        *("name", "organization", "description", "protected", "created", "modified", "digest"),
        *("shown_operations", "shown_options", "shown_expressions", "shown_variables"),
    )
    readonly_fields = fields

    def row_label(self, stack: Stack) -> str:
        return f"{stack.name} in {stack.organization}"

    @admin.display(description="Operations")
    def operation_names(self, stack: Stack) -> str:
        return ", ".join(operation["name"] for operation in stack.operations)

    @admin.display(description="Operations")
    def shown_operations(self, stack: Stack) -> SafeString:
        return indented_json(stack.operations)

    @admin.display(description="Options")
    def shown_options(self, stack: Stack) -> SafeString:
        return indented_json(stack.options)

    @admin.display(description="Expressions")
    def shown_expressions(self, stack: Stack) -> SafeString:
        return indented_json(stack.expressions)

    @admin.display(description="Variables")
    def shown_variables(self, stack: Stack) -> SafeString:
        return indented_json(stack.variables)

    @row_action(
        "Purge renders",
        permission=Permission.STACKS_WRITE,
        help_text="Removes the cached renders of these stacks, but not the copies that CDNs and browsers have.",
    )
    def purge_renders(self, stack: Stack, actor: Actor) -> str:
        operations.clear_cache(stack.organization, stack.name, actor=actor)
        return f"Renders of {stack} purged."

    @row_action(
        "Delete",
        permission=Permission.STACKS_WRITE,
        done="deleted",
        help_text="Images can no longer be rendered with these stacks. This can't be undone.",
        destructive=True,
    )
    def delete_stack(self, stack: Stack, actor: Actor) -> None:
        operations.delete_stack(stack.organization, stack.name, actor=actor)


def indented_json(value: Any) -> SafeString:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))
