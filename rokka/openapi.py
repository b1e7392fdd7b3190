"""What the OpenAPI document says of all endpoints alike."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

ORGANIZATION = OpenApiParameter(
    "organization", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
)


class ErrorDetailSerializer(serializers.Serializer):
    code = serializers.IntegerField(min_value=400, max_value=599, help_text="The HTTP status.")
    message = serializers.CharField(help_text="For people; it may change.")
    reason = serializers.CharField(help_text="For programs; stable, see docs/errors.md.")


class ErrorSerializer(ErrorDetailSerializer):
    """Every error."""

    error = ErrorDetailSerializer()
    invalid_authentication = serializers.BooleanField(required=False, help_text="Only when the credentials failed.")


def errors(*statuses: int) -> dict[Any, Any]:
    """Answers in the shape of every error. What any endpoint may answer that asks who calls is among them."""
    return {status: OpenApiResponse(ErrorSerializer, HTTPStatus(status).phrase) for status in statuses}


class CredentialsScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Keys and tokens."""

    target_class = "organizations.api.authentication.CredentialsAuthentication"
    name = ["ApiKey", "Token"]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        """One of them is enough."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "Api-Key"},
            {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        ]
