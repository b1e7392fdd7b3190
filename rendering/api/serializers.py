"""Serializers of stacks. Fields only document requests and responses; rendering.contents reads requests."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from rendering.contents import MAX_EXPRESSIONS
from rendering.limits import MAX_OPERATIONS
from rendering.models import Stack
from rokka.core.clock import rfc3339


class OperationSerializer(serializers.Serializer):
    name = serializers.CharField(help_text="Name of the operation; see `GET /operations`.")
    options = serializers.DictField(required=False)
    expressions = serializers.DictField(
        required=False, help_text="Expressions by option. They take precedence over `options`."
    )


class StoredOperationSerializer(OperationSerializer):
    options = serializers.DictField()


class OverridesSerializer(serializers.Serializer):
    options = serializers.DictField(required=False)
    variables = serializers.DictField(required=False)


class StackExpressionSerializer(serializers.Serializer):
    expression = serializers.CharField(help_text="Condition, such as `options.dpr >= 2`.")
    overrides = OverridesSerializer(required=False, help_text="Values that apply if the condition holds.")


class StoredStackExpressionSerializer(StackExpressionSerializer):
    overrides = OverridesSerializer()


class StackContentSerializer(serializers.Serializer):
    """The content of a stack. All keys are also accepted with the prefix `stack_`; other keys are ignored."""

    description = serializers.CharField(required=False, allow_blank=True)
    operations = OperationSerializer(many=True, required=False, help_text=f"At most {MAX_OPERATIONS}.")
    options = serializers.DictField(required=False, help_text="Stack options; see `GET /stackoptions`.")
    expressions = StackExpressionSerializer(many=True, required=False, help_text=f"At most {MAX_EXPRESSIONS}.")
    variables = serializers.DictField(
        required=False, help_text="Values or expressions by name. An expression can use the variables before it."
    )


class StackSerializer(serializers.Serializer):
    """A stack. `to_representation` builds it directly, as lists have up to 1,000 of them."""

    name = serializers.CharField()
    organization = serializers.CharField()
    created = serializers.DateTimeField()
    description = serializers.CharField(required=False, help_text="Omitted if empty.")
    stack_operations = StoredOperationSerializer(many=True)
    stack_options = serializers.DictField()
    stack_expressions = StoredStackExpressionSerializer(many=True)
    stack_variables = serializers.DictField()

    def to_representation(self, stack: Stack) -> dict[str, Any]:
        return {
            "name": stack.name,
            "organization": stack.organization.name,
            "created": rfc3339(stack.created),
            **({"description": stack.description} if stack.description else {}),
            "stack_operations": stack.operations,
            "stack_options": stack.options,
            "stack_expressions": stack.expressions,
            "stack_variables": stack.variables,
        }


class LinkedStackSerializer(StackSerializer):
    """A stack with its path."""

    link = serializers.CharField(help_text="Path of the stack in the API.")

    def to_representation(self, stack: Stack) -> dict[str, Any]:
        return super().to_representation(stack) | {"link": f"/stacks/{stack.organization.name}/{stack.name}"}


@extend_schema_serializer(many=False)  # the list is returned inside an object
class StackPageSerializer(serializers.Serializer):
    items = StackSerializer(many=True)
    cursor = serializers.CharField(required=False, help_text="Pass it as `offset` to get the next page.")


class StatusSerializer(serializers.Serializer):
    status = serializers.ChoiceField(["ok"])
