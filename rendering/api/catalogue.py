"""The catalogue of operations and stack options."""

from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import AuthenticatedViewSet
from organizations.permissions import Requirement
from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rokka.core.openapi import errors, extend_schema


class CatalogueViewSet(AuthenticatedViewSet):
    """What a stack can contain."""

    tag = "Stacks"
    required_permissions = {"operations": Requirement.ANONYMOUS, "stack_options": Requirement.ANONYMOUS}
    serializer_class = serializers.Serializer

    @extend_schema(
        summary="List stack operations",
        auth=[],
        responses={200: OpenApiTypes.OBJECT, **errors(429)},
    )
    def operations(self, request: Request) -> Response:
        """Returns the operations by name, with description, properties and required properties."""
        return Response(OPERATIONS)

    @extend_schema(
        summary="List stack options",
        auth=[],
        responses={200: OpenApiTypes.OBJECT, **errors(429)},
    )
    def stack_options(self, request: Request) -> Response:
        """Returns all options that a stack can have."""
        return Response(STACK_OPTIONS)
