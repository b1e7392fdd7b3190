"""What endpoints say about themselves in the OpenAPI document. The document is in `openapi_document`."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

Action = TypeVar("Action", bound=Callable[..., Any])

ORGANIZATION = OpenApiParameter(
    "organization", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
)


def extend_schema(**options: Any) -> Callable[[Action], Action]:
    """Like drf-spectacular's decorator, which would import all of it. It is applied when the document is generated."""

    def decorate(action: Action) -> Action:
        action.openapi = options  # type: ignore[attr-defined]
        return action

    return decorate


class ErrorDetailSerializer(serializers.Serializer):
    code = serializers.IntegerField(min_value=400, max_value=599, help_text="HTTP status.")
    message = serializers.CharField(help_text="Human-readable message. It can change.")
    reason = serializers.CharField(help_text="Machine-readable, stable reason; see docs/reference/errors.md.")


class ErrorSerializer(ErrorDetailSerializer):
    """The body of all errors."""

    error = ErrorDetailSerializer()
    invalid_authentication = serializers.BooleanField(required=False, help_text="Only if authentication failed.")


def errors(*statuses: int) -> dict[Any, Any]:
    """Return the OpenAPI responses of these error statuses."""
    return {status: OpenApiResponse(ErrorSerializer, HTTPStatus(status).phrase) for status in statuses}
